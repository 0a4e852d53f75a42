"""Any dialect to any other: what a server of one says is what a client of the other hears, less what is written here.

The servers are in `servers_say`, the clients in `clients_hear`; `LOSSES`, in words for readers, is docs/conversions.md.
"""

import json
from itertools import product

import pytest

import clients_hear
import feeding
import servers_say
from chat_streams import MULTILINGUAL, chunk, drive, sse, told
from clients_hear import Heard
from penstock.protocol.chat import Failed
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.relay import Relay, Whole
from penstock.protocol.tags import Structures
from servers_say import CREATED, IDS, MODEL, OWN_CREATED, OWN_ID, Said, as_said_by

CELLS = list(product(DIALECTS, DIALECTS))
OWN = {"id": OWN_ID, "created": OWN_CREATED, "model": MODEL}
TWO_CALLS = (
    ("call", 0, "call_1", "look"),
    *(("arguments", 0, fragment) for fragment in ('{"na', 'me": "é日', '", "n": [1, ', "12345678901234567890123]}")),
    ("call", 1, "call_2", "go"),
    *(("arguments", 1, fragment) for fragment in ("{", '"far":true}')),
)
ANSWERS = {
    "text": Said(tuple(("text", text) for text in [*MULTILINGUAL, "a\u2028b\x85c"])),
    "reasoning": Said((("reasoning", "hm, "), ("reasoning", "да"), ("signature", "c2ln"), ("text", "Hi"))),
    "two calls": Said(TWO_CALLS, "tool_calls"),
    "text and calls": Said((("text", "Let me "), ("text", "see."), *TWO_CALLS), "tool_calls"),
    "all": Said((("reasoning", "hm"), ("signature", "c2ln"), ("text", "Hi"), *TWO_CALLS), "tool_calls"),
    "refusal": Said((("refusal", "I "), ("refusal", "can't."))),
    "length": Said((("text", "It was a dark and"),), "length"),
    "filtered": Said((("text", "It"),), "content_filter"),
    "halves of characters": Said((("text", "a\ud83d"), ("text", "\ude00b"), ("text", "\ud83d\ude00"), ("text", "c"))),
    "halves in calls": Said(
        (("call", 0, "call_1", "f"), ("arguments", 0, '{"x":"\ud83d'), ("arguments", 0, '\ude00"}')), "tool_calls"
    ),
}

# -- what a client hears: the documented losses -----------------------------------------------------------

REASONS = {
    "openai": {},
    "completions": {"tool_calls": "stop"},
    "responses": {
        "stop": "completed",
        "tool_calls": "completed",
        "length": "incomplete: max_output_tokens",
        "content_filter": "incomplete: content_filter",
    },
    "ollama": {"tool_calls": "stop", "content_filter": "stop"},
    "ollama_generate": {"tool_calls": "stop", "content_filter": "stop"},
    "anthropic": {
        "stop": "end_turn",
        "tool_calls": "tool_use",
        "length": "max_tokens",
        "content_filter": "refusal",
    },
}
NO_REFUSALS = {"completions", "ollama", "ollama_generate", "anthropic"}  # they are text there
SIGNED = {"responses", "anthropic"}
NO_DETAILS = {"ollama", "ollama_generate"}  # of counts
NO_IDS = {"ollama", "ollama_generate"}


def expected(said: Said, source: str, sink: str) -> Heard:
    """What a client of `sink` hears of what a server of `source` said."""
    text, refusal = said.said("text"), said.said("refusal")
    if sink in NO_REFUSALS:
        text, refusal = text + refusal, ""
    reason = REASONS[sink].get(said.reason, said.reason)
    if sink == "anthropic" and said.said("refusal"):
        reason = "refusal"
    bare = sink == "completions"
    return Heard(
        id=told_id(source, sink),
        created=told_time(source, sink),
        text=text,
        reasoning="" if bare else said.said("reasoning"),
        refusal=refusal,
        signatures=tuple(piece[1] for piece in said.pieces if piece[0] == "signature" and sink in SIGNED),
        calls=() if bare else tuple((id, name, json.loads(arguments)) for id, name, arguments in said.calls),
        reason=reason,
        counts=(*said.counts[:2], 0, 0) if sink in NO_DETAILS else said.counts,
    )


def told_id(source: str, sink: str) -> str | None:
    if sink in NO_IDS:
        return None
    id = IDS.get(source, OWN_ID)
    return "resp_" + id.removeprefix("resp_").removeprefix("chatcmpl-") if sink == "responses" else id


def told_time(source: str, sink: str) -> object:
    if sink == "anthropic":
        return None
    if sink not in NO_IDS:
        return CREATED.get(source, OWN_CREATED)
    if source == sink:
        return servers_say.STAMP
    return "2025-10-09T08:53:20Z" if source in CREATED else OWN_STAMP


OWN_STAMP = "2025-06-15T15:06:40Z"


def written_anew(heard: Heard, source: str, sink: str) -> Heard:
    """Where an answer could not pass as it came: Ollama's own time is not read."""
    return heard._replace(created=OWN_STAMP) if source == sink and sink in NO_IDS else heard


SPOKEN = [
    pytest.param(said, source, sink, id=f"{name}-{source}-{sink}")
    for (name, answer), (source, sink) in product(ANSWERS.items(), CELLS)
    if (said := as_said_by(source, answer)) is not None
]


def cut_as_it_may_be(data: bytes, make, *, splits: int = 0):
    """What a relay makes of `data`, the same for some cuts; with `splits`, for every cut of what is shorter."""
    found = drive(make(), [data])
    for chunks in feeding.cuts(data, splits=splits) if splits else some_cuts(data):
        assert drive(make(), chunks) == found, f"cut as {chunks!r}"
    return found


def some_cuts(data: bytes):
    yield feeding.bytewise(data)
    yield from feeding.random_splits(data, 3)


@pytest.mark.parametrize(("said", "source", "sink"), SPOKEN)
def test_a_stream(said, source, sink):
    data = servers_say.stream(source, said)
    out, ending, failed, usage, *_ = cut_as_it_may_be(data, lambda: Relay(source, sink, include_usage=True, **OWN))
    assert (str(ending), failed) == ("completed", None)
    assert clients_hear.stream(sink, out) == expected(said, source, sink)
    assert usage[:5] == (*said.counts[:2], sum(said.counts[:2]), *said.counts[2:])


@pytest.mark.parametrize(("said", "source", "sink"), SPOKEN)
def test_an_answer_in_one_piece(said, source, sink):
    data = servers_say.body(source, said)
    out, ending, failed, usage, *_ = cut_as_it_may_be(data, lambda: Whole(source, sink, **OWN))
    assert (str(ending), failed) == ("completed", None)
    assert clients_hear.body(sink, out) == expected(said, source, sink)
    assert usage[:5] == (*said.counts[:2], sum(said.counts[:2]), *said.counts[2:])


SHORT = Said((("text", "é"),))


@pytest.mark.parametrize(("source", "sink"), CELLS)
def test_c33_c35_no_cut_changes_anything(source, sink):
    data = servers_say.stream(source, SHORT)
    out, *_ = cut_as_it_may_be(data, lambda: Relay(source, sink, include_usage=True, **OWN), splits=len(data))
    assert clients_hear.stream(sink, out) == expected(as_said_by(source, SHORT), source, sink)


@pytest.mark.parametrize(("source", "sink"), CELLS)
def test_c48_one_document_in_the_place_of_a_stream_and_a_stream_in_the_place_of_a_document(source, sink):
    said = next(filter(None, (as_said_by(source, ANSWERS[name]) for name in ("all", "reasoning", "text"))))
    out, *_ = cut_as_it_may_be(servers_say.body(source, said), lambda: Relay(source, sink, include_usage=True, **OWN))
    assert clients_hear.stream(sink, out) == expected(said, source, sink)
    out, *_ = cut_as_it_may_be(servers_say.stream(source, said), lambda: Whole(source, sink, **OWN))
    assert clients_hear.body(sink, out) == written_anew(expected(said, source, sink), source, sink)


UNCHANGED = [
    pytest.param(dialect, said, id=f"{name}-{dialect}")
    for (name, answer), dialect in product(ANSWERS.items(), DIALECTS)
    if "halves" not in name and (said := as_said_by(dialect, answer)) is not None
]


@pytest.mark.parametrize(("dialect", "said"), UNCHANGED)
def test_c61_the_same_dialect_twice_is_byte_for_byte(dialect, said):
    """But for line breaks that only some readers know, and a `ping` before anything else."""
    data, body = servers_say.stream(dialect, said), servers_say.body(dialect, said)
    relay, whole = Relay(dialect, dialect, include_usage=True, **OWN), Whole(dialect, dialect, **OWN)
    sent = data.replace("\u2028".encode(), b"\\u2028").replace("\x85".encode(), b"\\u0085")
    assert relay.feed(data) + relay.close() == sent.replace(servers_say.PING, b"")
    assert whole.feed(body) + whole.close() == body


@pytest.mark.parametrize(("source", "sink"), CELLS)
def test_usage_that_was_not_asked_for(source, sink):
    relay = Relay(source, sink, **OWN)
    heard = clients_hear.stream(sink, relay.feed(servers_say.stream(source, SHORT)) + relay.close())
    counts = expected(as_said_by(source, SHORT), source, sink).counts
    assert heard.counts == (None if sink in ("openai", "completions") else counts)
    assert relay.usage[:2] == SHORT.counts[:2]


@pytest.mark.parametrize(("source", "sink"), CELLS)
@pytest.mark.parametrize("ending", ["error", "cut"])
def test_c20_c24_an_answer_that_breaks_off(source, sink, ending):
    said = next(filter(None, (as_said_by(source, ANSWERS[name]) for name in ("all", "reasoning", "text"))))
    data = servers_say.stream(source, said, ending)
    out, end, failed, _, started, _ = cut_as_it_may_be(data, lambda: Relay(source, sink, **OWN))
    assert (str(end), started) == ({"error": "failed", "cut": "truncated"}[ending], True)
    message = {"error": "slow down", "cut": "the upstream closed the connection before its answer was complete"}[ending]
    assert failed.message == message
    heard = clients_hear.stream(sink, out)
    assert (heard.error, heard.reason) == (message, None)
    whole = expected(said, source, sink)
    assert (heard.text, heard.reasoning) == (whole.text, whole.reasoning)
    out, end, failed, *_ = cut_as_it_may_be(data, lambda: Whole(source, sink, **OWN))
    assert (out, str(end), failed.message) == (b"", {"error": "failed", "cut": "truncated"}[ending], message)
    relay = Relay(source, sink, **OWN)
    assert clients_hear.stream(sink, relay.feed(data) + relay.cut()).error == message


@pytest.mark.parametrize(("source", "sink"), CELLS)
def test_c23_an_error_before_anything_was_sent_is_a_status(source, sink):
    data = servers_say.error(source)
    for make in (lambda: Relay(source, sink, **OWN), lambda: Whole(source, sink, **OWN)):
        out, end, failed, _, started, _ = cut_as_it_may_be(data, make)
        assert (out, str(end), started) == (b"", "failed", False)
        status, body = DIALECTS[sink].encode_error(failed)
        assert (status, clients_hear.error(sink, body)) == (502 if "ollama" in source else 429, "slow down")


HTTP_ERRORS = {
    "openai": {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
    "completions": {"object": "error", "message": "slow down", "type": "TooManyRequests", "code": 429},  # vLLM's
    "responses": {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}},
    "ollama": {"error": "slow down"},
    "ollama_generate": {"error": "slow down"},
    "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}, "request_id": "r"},
}


@pytest.mark.parametrize(("source", "sink"), CELLS)
def test_an_error_with_a_status(source, sink):
    said = json.dumps(HTTP_ERRORS[source]).encode()
    for headers in ([("Retry-After", "3")], [(b"retry-after", b"3")]):
        failed = DIALECTS[source].decode_error(429, headers, said)
        assert (failed.status, failed.retry_after) == (429, 3)
        status, body = DIALECTS[sink].encode_error(failed)
        assert (status, clients_hear.error(sink, body)) == (429, "slow down")


@pytest.mark.parametrize("sink", DIALECTS)
def test_an_error_of_the_gateways_own(sink):
    """Before anything was sent there are no bytes; behind that, the client's own form, and nothing after it."""
    relay = Relay("openai", sink, **OWN)
    assert (relay.fail(Failed("too late", 504, code="timed_out")), str(relay.ending)) == (b"", "failed")
    relay = Relay("openai", sink, **OWN)
    out = relay.feed(servers_say.stream("openai", SHORT, "cut")) + relay.fail(Failed("too late", 504))
    assert clients_hear.stream(sink, out + relay.close()).error == "too late"


WOVEN = Said(
    (
        ("call", 0, "call_1", "f"),
        ("call", 1, "call_2", "g"),
        ("arguments", 0, '{"x":'),
        ("arguments", 1, '{"y":'),
        ("arguments", 0, "1}"),
        ("text", "and"),
        ("arguments", 1, "2}"),
    ),
    "tool_calls",
)


@pytest.mark.parametrize("sink", DIALECTS)
def test_calls_and_text_that_come_woven_into_each_other(sink):
    """OpenAI's chunks can; where blocks and items stand one after the other, they wait."""
    out, *_ = cut_as_it_may_be(
        servers_say.stream("openai", WOVEN), lambda: Relay("openai", sink, include_usage=True, **OWN)
    )
    assert clients_hear.stream(sink, out) == expected(WOVEN, "openai", sink)


@pytest.mark.parametrize("sink", DIALECTS)
def test_several_choices(sink):
    """Only OpenAI's dialects have them; elsewhere the first is all there is."""
    frames = [chunk({"role": "assistant", "content": ""}, index=at) for at in (0, 1)]
    frames += [chunk({"content": text}, index=at) for at, text in ((0, "a"), (1, "b"), (0, "c"))]
    data = sse(*frames, chunk({}, "stop", index=1), chunk({}, "length", index=0))
    out, *_ = cut_as_it_may_be(data, lambda: Relay("openai", sink, **OWN))
    if sink == "openai":
        texts = [(index, delta["content"]) for index, delta, _ in told(out)[:-1] if delta.get("content")]
        assert texts == [(0, "a"), (1, "b"), (0, "c")]
    elif sink == "completions":
        choices = [json.loads(frame[6:])["choices"][0] for frame in out.split(b"\n\n")[:-2]]
        assert [(item["index"], item["text"], item["finish_reason"]) for item in choices] == [
            (0, "a", None),
            (1, "b", None),
            (0, "c", None),
            (0, "", "length"),
            (1, "", "stop"),
        ]
    else:
        heard = clients_hear.stream(sink, out)
        assert (heard.text, heard.reason) == ("ac", REASONS[sink].get("length", "length"))


@pytest.mark.parametrize("sink", DIALECTS)
def test_c20_a_reason_that_was_not_given_is_not_made_up(sink):
    relay = Relay("openai", sink, **OWN)
    out = relay.feed(sse(chunk({"role": "assistant", "content": "a"}))) + relay.close()
    over = {"responses": "completed", "ollama": "stop", "ollama_generate": "stop"}  # these must say something
    assert clients_hear.stream(sink, out).reason == over.get(sink)
    assert str(relay.ending) == "completed"


# -- structure in the text --------------------------------------------------------------------------------

TAGGED = Said(
    tuple(
        ("text", text)
        for text in ("<th", "ink>h", "m</think>Hi <tool", '_call>{"name": "f", "arguments": {"x": 1}}</tool_call>')
    )
)
UNTAGGED = Said(
    (("reasoning", "hm"), ("text", "Hi "), ("call", 0, "", "f"), ("arguments", 0, '{"x": 1}')), "tool_calls"
)
STRUCTURES = Structures(think=["think"], tool_call=True)


@pytest.mark.parametrize(("source", "sink"), CELLS)
def test_reasoning_and_calls_in_the_text_where_they_are_looked_for(source, sink):
    said = as_said_by(source, TAGGED)
    wanted = written_anew(expected(UNTAGGED._replace(counts=said.counts), source, sink), source, sink)
    streamed, whole = servers_say.stream(source, said), servers_say.body(source, said)
    for make, data, hear in (
        (Relay, streamed, clients_hear.stream),
        (Relay, whole, clients_hear.stream),
        (Whole, whole, clients_hear.body),
        (Whole, streamed, clients_hear.body),
    ):
        out, *_ = cut_as_it_may_be(
            data, lambda make=make: make(source, sink, include_usage=True, structures=STRUCTURES, **OWN)
        )
        heard = hear(sink, out)
        assert all(id.startswith("call_") for id, *_ in heard.calls)
        assert heard._replace(calls=tuple(("", *call[1:]) for call in heard.calls)) == wanted


@pytest.mark.parametrize(("source", "sink"), CELLS)
def test_structure_in_a_text_that_breaks_off_comes_out_as_it_came(source, sink):
    cut = as_said_by(source, Said((("text", "Hi <tool_call>{"), ("text", '"name'))))
    data = servers_say.stream(source, cut, "cut")
    out, end, *_ = cut_as_it_may_be(data, lambda: Relay(source, sink, structures=STRUCTURES, **OWN))
    heard = clients_hear.stream(sink, out)
    assert (str(end), heard.text, heard.calls) == ("truncated", cut.said("text"), ())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_by_default_a_text_is_as_it_came(dialect):
    said = as_said_by(dialect, TAGGED)
    relay, whole = Relay(dialect, dialect, include_usage=True, **OWN), Whole(dialect, dialect, **OWN)
    data, body = servers_say.stream(dialect, said), servers_say.body(dialect, said)
    assert relay.feed(data) + relay.close() == data.replace(servers_say.PING, b"")
    assert whole.feed(body) + whole.close() == body
