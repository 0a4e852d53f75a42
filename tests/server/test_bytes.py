"""Bytes on their way from an upstream to a client: cuts, characters, line ends, sizes, and what a body really is."""

import json
import tracemalloc

import pytest
import trio.testing

import feeding
from answers import (
    DONE,
    LAST,
    NDJSON,
    STREAM,
    bytewise,
    chunked,
    completion,
    content,
    cut,
    delta,
    error,
    finish,
    head,
    line,
    ndjson,
    payloads,
    reply,
    role,
    sse,
    stream,
    text,
    tool,
    usage,
)
from rig import Rig
from scripted import CLOSE, Upstream

WORDS = ["Приве", "т, हिन्दी ", "日本 👩‍👧", " e\u0301🇺🇦"]
SAID = "".join(WORDS)
CHUNKS = [role(), *map(text, WORDS), finish()]
BODY = sse(*CHUNKS, usage(), DONE)
EXPECTED = [*CHUNKS, DONE]


async def ask(nursery, *script, toml="", **body):
    """The answer to one chat whose upstream follows `script`."""
    return await Rig(nursery, Upstream(nursery, script), toml).ask(**body)


async def ask_all(nursery, scripts, toml="", **body):
    """The answers to as many chats on one connection as there are scripts for the upstream."""
    client = Rig(nursery, Upstream(nursery, *scripts), toml).connect()
    found = []
    for _ in scripts:
        await client.chat(**body)
        found.append(await client.answer())
    return found


def said_by(answer):
    """The text of an answer, whether it was streamed or not."""
    assert answer.status == 200, answer.body
    if answer.headers["content-type"] == "application/json":
        return answer.json["choices"][0]["message"]["content"]
    assert payloads(answer.body)[-1] == DONE
    return content(payloads(answer.body))


# -- cuts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wants_stream", [True, False])
async def test_c33_a_stream_cut_in_two_at_every_byte(nursery, autojump_clock, wants_stream):
    """Cut where TCP may cut it: within the head, the transfer coding, an event, a character."""
    wire = STREAM + chunked(BODY) + LAST
    answers = await ask_all(nursery, [cut(wire, at) for at in range(1, len(wire))], stream=wants_stream)
    assert said_by(answers[0]) == SAID
    if wants_stream:
        assert payloads(answers[0].body) == EXPECTED
    assert {answer.body for answer in answers} == {answers[0].body} or not wants_stream
    assert {said_by(answer) for answer in answers} == {SAID}


async def test_c33_a_stream_cut_in_two_transfer_chunks_at_every_byte(nursery, autojump_clock):
    scripts = [[STREAM, chunked(BODY[:at]), chunked(BODY[at:]) + LAST] for at in range(1, len(BODY))]
    answers = await ask_all(nursery, scripts, stream=True)
    assert payloads(answers[0].body) == EXPECTED
    assert {answer.body for answer in answers} == {answers[0].body}


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "raw"])
async def test_c33_byte_by_byte(nursery, autojump_clock, escaped):
    body = b"".join(b"data: " + json.dumps(c, ensure_ascii=escaped).encode() + b"\n\n" for c in CHUNKS)
    answer = await ask(nursery, STREAM, *map(chunked, bytewise(body)), LAST, stream=True)
    assert payloads(answer.body) == EXPECTED


@pytest.mark.parametrize("wants_stream", [True, False])
async def test_c33_a_whole_answer_cut_in_two_at_every_byte(nursery, autojump_clock, wants_stream):
    wire = reply(completion(SAID))
    answers = await ask_all(nursery, [cut(wire, at) for at in range(1, len(wire))], stream=wants_stream)
    assert {said_by(answer) for answer in answers} == {SAID}


HALVES = {
    "a replacement character as it came": (["a\ufffd", "b"], "a\ufffdb"),
    "a pair cut in two deltas": (["a\ud83d", "\ude00b"], "a😀b"),
    "a pair cut in two deltas that hold nothing else": (["\ud83d", "\ude00"], "😀"),
    "two pairs, each cut": (["\ud83d", "\ude00\ud83d", "\ude01"], "😀😁"),
    "a first half before something else": (["a\ud83d", "b"], "a\ufffdb"),
    "a first half at the end": (["a", "b\ud83d"], "ab\ufffd"),
    "a second half alone": (["a", "\ude00b"], "a\ufffdb"),
    "halves the wrong way round": (["\ude00\ud83d", "!"], "\ufffd\ufffd!"),
}


def with_halves(*payloads):
    """Events with escapes in their JSON, as only so half a character can be said."""
    return b"".join(b"data: " + json.dumps(p).encode() + b"\n\n" for p in payloads)


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("end", [[finish(), DONE], [DONE], [finish()]], ids=["finish and marker", "marker", "finish"])
@pytest.mark.parametrize(("words", "expected"), HALVES.values(), ids=HALVES)
async def test_c34_half_characters_of_a_stream(nursery, autojump_clock, words, expected, end, wants_stream):
    body = with_halves(role(), *map(text, words)) + sse(*end)
    answer = await ask(nursery, STREAM, chunked(body), LAST, stream=wants_stream)
    assert said_by(answer) == expected


async def test_c34_half_characters_in_a_whole_answer(nursery, autojump_clock):
    answer = await ask(nursery, reply(json.dumps(completion("a\ud83db \ud83d\ude00"))))
    assert said_by(answer) == "a\ufffdb 😀"
    answer.body.decode()


async def test_c34_half_characters_in_tool_calls(nursery, autojump_clock):
    calls = [tool(0, id="call_a", name="f"), tool(0, '{"x":"\ud83d'), tool(0, '\ude00\ud83d"}')]
    body = with_halves(role(), *calls) + sse(finish("tool_calls"), DONE)
    answer = await ask(nursery, STREAM, chunked(body), LAST, stream=True)
    deltas = [choice["delta"] for event in payloads(answer.body)[:-1] for choice in event["choices"]]
    fragments = [call["function"]["arguments"] for d in deltas for call in d.get("tool_calls", ())]
    assert json.loads("".join(fragments)) == {"x": "😀\ufffd"}


@pytest.mark.parametrize("wants_stream", [True, False])
async def test_c34_bytes_that_are_no_utf8(nursery, autojump_clock, wants_stream):
    body = sse(role(), text("ab")).replace(b"ab", b"a\xf0\x9f\x98b") + sse(finish(), DONE)
    answer = await ask(nursery, STREAM, chunked(body), LAST, stream=wants_stream)
    assert said_by(answer) == "a\ufffdb"


async def test_c34_half_characters_of_a_request(nursery, autojump_clock):
    """What a client may say, an upstream may judge: it gets the very bytes."""
    raw = rb'{"model":"up/tiny","messages":[{"role":"user","content":"a\ud83d"}]}'
    up = Upstream(nursery, [reply(completion())])
    client = Rig(nursery, up).connect()
    await client.request("POST", "/v1/chat/completions", {"content-type": "application/json"}, raw)
    assert (await client.answer()).status == 200
    assert up.requests[0].body == raw.replace(b"up/tiny", b"tiny")


async def test_c35_events_split_anywhere_usage_included(nursery, autojump_clock, caplog):
    """The side channel too: what was used is booked, whatever the cut, also where no client asked for it."""
    caplog.set_level("INFO", "penstock.requests")
    tail = sse(finish(), usage(1234, 56), DONE)
    before = STREAM + chunked(sse(role(), text("Hi")))
    scripts = [[before, chunked(tail[:at]), chunked(tail[at:]) + LAST] for at in range(1, len(tail))]
    answers = await ask_all(nursery, scripts, stream=True)
    await trio.testing.wait_all_tasks_blocked()
    assert {answer.body for answer in answers} == {sse(role(), text("Hi"), finish(), DONE)}
    assert [" tokens=1234+56 " in record.message for record in caplog.records] == [True] * len(scripts)


async def test_c35_each_event_leaves_with_the_byte_that_completes_it(nursery, autojump_clock):
    script = [STREAM]
    for event in (sse(role()), sse(text("a")), sse(text("b"))):
        script += [chunked(event[:-1]), 1, chunked(event[-1:]), 1]
    answer = await ask(nursery, *script, chunked(sse(finish(), DONE)) + LAST, stream=True)
    assert [(at, payloads(piece)) for at, piece in answer.pieces] == [
        (1.0, [role()]),
        (3.0, [text("a")]),
        (5.0, [text("b")]),
        (6.0, [finish(), DONE]),
    ]


async def test_c36_many_events_in_one_read(nursery, autojump_clock):
    words = [f"w{number} " for number in range(200)]
    body = sse(role(), *map(text, words), finish(), DONE)
    answer = await ask(nursery, STREAM + chunked(body) + LAST, stream=True)
    assert payloads(answer.body) == [role(), *map(text, words), finish(), DONE]


@pytest.mark.parametrize("end", [b"\n", b"", b"\r\n", b"\r"], ids=["LF", "nothing", "CRLF", "CR"])
@pytest.mark.parametrize(
    ("said", "last"),
    [([text("a"), finish()], DONE), ([text("a")], finish()), ([], delta("stop", content="a"))],
    ids=["the marker", "a finish", "all there is"],
)
async def test_c36_a_last_event_without_a_blank_line(nursery, autojump_clock, said, last, end):
    body = sse(role(), *said, last).removesuffix(b"\n\n") + end
    answer = await ask(nursery, STREAM, chunked(body), LAST, stream=True)
    assert payloads(answer.body) == [role(), text("a"), finish(), DONE]


MIXED = [b"\r\n\n", b"\n\r\n", b"\n\r", b"\r\r", b""]
LINE_ENDS = {
    "CRLF": lambda body: body.replace(b"\n", b"\r\n"),
    "CR": lambda body: body.replace(b"\n", b"\r"),
    "mixed": lambda body: b"".join(map(bytes.__add__, body.split(b"\n\n"), MIXED)),
    "LF with a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
}


@pytest.mark.parametrize("written", LINE_ENDS.values(), ids=LINE_ENDS)
async def test_c37_line_ends_cut_at_every_byte(nursery, autojump_clock, written):
    body = written(sse(role(), text("a"), finish(), DONE))
    scripts = [[STREAM, chunked(body[:at]), chunked(body[at:]) + LAST] for at in range(1, len(body))]
    answers = await ask_all(nursery, scripts, stream=True)
    assert {answer.body for answer in answers} == {sse(role(), text("a"), finish(), DONE)}


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
async def test_c37_nothing_else_ends_a_line(nursery, autojump_clock, separator):
    chunk = text(f"a{separator}b")
    answer = await ask(nursery, *stream(role(), chunk, finish(), DONE), stream=True)
    assert payloads(answer.body)[1] == chunk


@pytest.mark.parametrize("colon", [b"data:", b"data:  ", b"data:\t"], ids=["no space", "two spaces", "a tab"])
async def test_c38_spaces_after_the_colon(nursery, autojump_clock, caplog, colon):
    caplog.set_level("INFO", "penstock.requests")
    body = BODY.replace(b"data: ", colon)
    answer = await ask(nursery, STREAM, chunked(body), LAST, stream=True)
    assert payloads(answer.body) == EXPECTED
    await trio.testing.wait_all_tasks_blocked()
    assert " tokens=9+2 " in caplog.text


COMMENTS = [b":\n", b": x\n", b":x\n:\n: y\n", b": keep-alive\n\n", b":\n\n:\n\n", b"data: : keep-alive\n\n"]


@pytest.mark.parametrize("comment", COMMENTS)
async def test_c39_comments_everywhere(nursery, autojump_clock, comment):
    """Before the first event, between events, and after the last: never data, never copied."""
    events = [sse(payload) for payload in (*CHUNKS, DONE)]
    between = comment + comment.join(events) + comment
    answer = await ask(nursery, STREAM, *map(chunked, cut(between, 5, 200)), LAST, stream=True)
    assert answer.body == sse(*EXPECTED)


async def test_c39_comments_between_the_fields_of_an_event(nursery, autojump_clock):
    raw = b"".join(b"event: message\n: x\nid: 7\n:\n" + sse(payload)[:-1] + b":\n: y\n\n" for payload in EXPECTED)
    answer = await ask(nursery, STREAM, chunked(raw), LAST, stream=True)
    assert answer.body == sse(*EXPECTED)


async def test_c39_comments_do_not_begin_the_answer(nursery, autojump_clock):
    waiting = [step for _ in range(50) for step in (chunked(b": processing\n\n"), 1)]
    client = Rig(nursery, Upstream(nursery, [STREAM, *waiting, chunked(sse(error("busy"))), LAST])).connect()
    await client.chat(stream=True)
    assert (await client.answer()).status == 502


async def test_c39_comments_keep_a_silent_upstream_alive(nursery, autojump_clock):
    """Between events they count as life, as upstreams send them while a model thinks."""
    waiting = [step for _ in range(10) for step in (20, chunked(b":\n\n"))]
    begun = chunked(sse(role(), text("a")))
    answer = await ask(nursery, STREAM, begun, *waiting, 20, chunked(sse(finish(), DONE)) + LAST, stream=True)
    assert answer.body == sse(role(), text("a"), finish(), DONE)


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \n\t"])
async def test_c40_blank_lines_before_json(nursery, autojump_clock, blank, wants_stream):
    """DeepSeek sends them for as long as a request waits."""
    raw = json.dumps(completion(SAID)).encode()
    typed = head(200, ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))
    waiting = [step for _ in range(20) for step in (chunked(blank), 5)]
    answer = await ask(nursery, typed, *waiting, chunked(raw), LAST, stream=wants_stream)
    assert said_by(answer) == SAID
    assert answer.body[:1] not in b" \t\r\n"


async def test_c40_blank_lines_before_a_stream(nursery, autojump_clock):
    answer = await ask(nursery, STREAM, *[chunked(b"\n")] * 9, chunked(BODY), LAST, stream=True)
    assert answer.body == sse(*EXPECTED)


CONTROL = [b"retry: 3000", b"id: 5", b"event: ping", b"data:", b"data", b"data: ", b"foo: bar", b"retry: 1\nid: 6"]


@pytest.mark.parametrize("control", [lines + b"\n\n" for lines in CONTROL])
async def test_c41_empty_and_control_only_events(nursery, autojump_clock, control):
    events = [sse(payload) for payload in (*CHUNKS, DONE)]
    answer = await ask(nursery, STREAM, chunked(control + control.join(events) + control), LAST, stream=True)
    assert answer.body == sse(*EXPECTED)


async def test_c41_ids_and_names_of_events_are_not_passed_on(nursery, autojump_clock):
    body = b"".join(b"event: message\nid: 7\nretry: 1\n" + sse(payload) for payload in (*CHUNKS, DONE))
    answer = await ask(nursery, STREAM, chunked(body), LAST, stream=True)
    assert answer.body == sse(*EXPECTED)


@pytest.mark.parametrize("wants_stream", [True, False])
async def test_c42_json_in_several_data_lines_comes_out_in_one(nursery, autojump_clock, wants_stream):
    pretty = (json.dumps(chunk, ensure_ascii=False, indent=1) for chunk in CHUNKS)
    body = b"".join(b"data: " + chunk.replace("\n", "\ndata: ").encode() + b"\n\n" for chunk in pretty) + sse(DONE)
    answer = await ask(nursery, STREAM, chunked(body), LAST, stream=wants_stream)
    assert said_by(answer) == SAID


# -- sizes ------------------------------------------------------------------------------------------------

BIG = 4 * 1024 * 1024
PIECE = 16384


def in_pieces(data, size=PIECE):
    return [chunked(data[at : at + size]) for at in range(0, len(data), size)]


LARGE = {"text": lambda size: text("x" * size), "a tool call": lambda size: tool(0, "x" * size, id="call_a", name="f")}


@pytest.mark.parametrize("large", LARGE.values(), ids=LARGE)
async def test_c43_a_large_event_passes_in_bounded_memory(nursery, autojump_clock, large):
    """It is held while it comes, and a few copies of it are made; more than that would grow with the pieces."""
    event = sse(large(BIG))
    up = Upstream(nursery, [STREAM, chunked(sse(role())), *in_pieces(event), chunked(sse(finish(), DONE)) + LAST])
    client = Rig(nursery, up).connect()
    await client.chat(stream=True)
    await client.head()
    tracemalloc.start()
    try:
        received, tail = 0, b""
        while piece := await client.piece():
            received, tail = received + len(piece), piece
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received > BIG
    assert tail.endswith(sse(DONE))
    assert peak < 6 * BIG


async def test_c43_an_event_as_large_as_the_limit_passes(nursery, autojump_clock):
    limit = 100_000
    room = limit - len(sse(text("")))
    body = sse(role(), text("x" * room), finish(), DONE)
    toml = f"[limits]\nframe_bytes = {limit}\n"
    assert said_by(await ask(nursery, STREAM, *in_pieces(body), LAST, toml=toml, stream=True)) == "x" * room
    body = sse(role(), text("x" * (room + 1)), finish(), DONE)
    told = payloads((await ask(nursery, STREAM, *in_pieces(body), LAST, toml=toml, stream=True)).body)[-1]
    assert told["error"]["message"].endswith(f"an event is larger than {limit} bytes")


async def test_c43_too_large_a_first_event_is_a_status(nursery, autojump_clock):
    script = [STREAM, *in_pieces(sse(text("x" * 200_000), finish(), DONE)), LAST]
    answer = await ask(nursery, *script, toml="[limits]\nframe_bytes = 100000\n", stream=True)
    assert answer.status == 502
    assert answer.error["message"].endswith("an event is larger than 100000 bytes")


LONG = {"JSON": reply(completion("x" * 200_000)), "a stream": b"".join(stream(role(), *[text("x" * 40_000)] * 5))}


@pytest.mark.parametrize("script", LONG.values(), ids=LONG)
async def test_c43_too_large_a_whole_answer_is_a_status(nursery, autojump_clock, script):
    answer = await ask(nursery, script, toml="[limits]\nmessage_bytes = 100000\n")
    assert answer.status == 502
    assert "100000 bytes" in answer.error["message"]


def pouring(unit, pause=0.0):
    """A step that sends `unit` again and again, for as long as anyone reads."""
    endless = chunked(unit * (8192 // len(unit)))

    async def pour(exchange):
        while True:
            await exchange.send(endless)
            await trio.sleep(pause)

    return pour


ENDLESS = {
    "a line": (b"data: ", b"x"),
    "lines without a blank one": (b"data: x\n", b"data: x\n"),
    "a comment": (b": ", b"x"),
    "no text at all": (b"\x00", b"\x00"),
    "JSON": (b'{"choices":[', b"1,"),
}


@pytest.mark.parametrize("begun", [True, False], ids=["in mid-stream", "at once"])
@pytest.mark.parametrize(("begin", "unit"), ENDLESS.values(), ids=ENDLESS)
async def test_c44_what_never_ends_stops_at_the_limit(nursery, autojump_clock, begin, unit, begun):
    """The upstream is let go there, and the client is told."""
    before = [chunked(sse(role(), text("a")))] if begun else []
    up = Upstream(nursery, [STREAM, *before, chunked(begin), pouring(unit)])
    rig = Rig(nursery, up, "[limits]\nframe_bytes = 200000\n")
    answer = await rig.ask(stream=True)
    assert answer.status == (200 if begun else 502)
    told = payloads(answer.body)[-1]["error"] if begun else answer.error
    assert "200000 bytes" in told["message"]
    await up.all_closed()
    assert up.requests[0].sent < 600_000
    assert rig.gateway.ledger.endings == {"failed": 1}


async def test_c44_a_whole_answer_that_never_ends_stops_at_the_limit(nursery, autojump_clock):
    typed = head(200, ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked"))
    up = Upstream(nursery, [typed, chunked(b'{"choices":['), pouring(b"1,")])
    answer = await Rig(nursery, up, "[limits]\nframe_bytes = 100000\nmessage_bytes = 200000\n").ask()
    assert answer.status == 502
    assert "200000 bytes" in answer.error["message"]
    await up.all_closed()
    assert up.requests[0].sent < 600_000


async def test_c44_endless_white_space_is_no_first_event(nursery, autojump_clock):
    up = Upstream(nursery, [STREAM, pouring(b"\n", pause=1.0)])
    answer = await Rig(nursery, up).ask(stream=True)
    assert answer.status == 504
    assert "(first_event)" in answer.error["message"]
    assert trio.current_time() == 120.0
    await up.all_closed()


@pytest.mark.parametrize("size", [1, 1460])
async def test_c45_work_is_linear_in_the_bytes(nursery, autojump_clock, size):
    """Counted, not timed: the bytes that are touched while one event comes in many pieces."""
    event = sse(text("x" * 20_000))
    go = trio.Event()
    script = [STREAM, chunked(sse(role())), go, *in_pieces(event, size), chunked(sse(finish(), DONE)) + LAST]
    rig = Rig(nursery, Upstream(nursery, script))
    client = rig.connect()
    await client.chat(stream=True)
    await client.head()
    await client.piece()
    (exchange,) = rig.gateway.exchanges
    blocks = exchange._passing._pipe._runs
    blocks._held = held = feeding.Ledger()
    go.set()
    while await client.piece():
        pass
    assert len(event) - 2 * size <= held.touched <= 2 * len(event)


# -- what a body really is --------------------------------------------------------------------------------


async def test_c47_the_length_of_a_stream_is_not_passed_on(nursery, autojump_clock):
    sized = head(200, ("Content-Type", "text/event-stream"), ("Content-Length", str(len(BODY))))
    answer = await ask(nursery, sized, *cut(BODY, 100, 300), stream=True)
    assert answer.body == sse(*EXPECTED)
    assert "content-length" not in answer.headers
    assert answer.headers["transfer-encoding"] == "chunked"


async def test_c47_a_whole_answer_has_the_length_that_it_has(nursery, autojump_clock):
    raw = "\n\n" + json.dumps(completion("a\ud83d"), indent=2)
    answer = await ask(nursery, reply(raw))
    assert said_by(answer) == "a\ufffd"
    assert answer.headers["content-length"] == str(len(answer.body)) != str(len(raw))


TYPES = ["text/event-stream", "application/json", "application/x-ndjson", "text/plain; charset=utf-8", None]


def typed(media):
    return head(200, *[("Content-Type", media)] * bool(media), ("Transfer-Encoding", "chunked"))


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("indent", [1, None], ids=["on many lines", "on one line"])
@pytest.mark.parametrize("media", TYPES)
async def test_c48_a_whole_answer_under_any_type(nursery, autojump_clock, media, indent, wants_stream):
    body = json.dumps(completion(SAID), ensure_ascii=False, indent=indent).encode() + b"\n"
    answer = await ask(nursery, typed(media), *map(chunked, cut(body, 1, 40)), LAST, stream=wants_stream)
    assert said_by(answer) == SAID
    if wants_stream:
        assert answer.headers["content-type"].startswith("text/event-stream")
        reasons = [c["finish_reason"] for event in payloads(answer.body)[:-1] for c in event["choices"]]
        assert reasons[-1] == "stop"
    elif indent is None:
        assert answer.body == body.strip()


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("media", TYPES)
async def test_c48_a_stream_under_any_type(nursery, autojump_clock, media, wants_stream):
    answer = await ask(nursery, typed(media), *map(chunked, cut(BODY, 1, 40)), LAST, stream=wants_stream)
    assert said_by(answer) == SAID
    if not wants_stream:
        assert answer.json["object"] == "chat.completion"
        assert answer.json["usage"] == {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        assert answer.json["choices"][0]["finish_reason"] == "stop"


async def test_c48_chunks_as_lines_of_json(nursery, autojump_clock):
    answer = await ask(nursery, NDJSON, chunked(ndjson(*CHUNKS)), LAST, stream=True)
    assert payloads(answer.body) == EXPECTED


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("body", [b"Hello!", b"<html><body>It works</body></html>", b"[]", b"{}", b"null", b"42"])
async def test_c48_what_is_no_answer_at_all(nursery, autojump_clock, body, wants_stream):
    answer = await ask(nursery, reply(body), stream=wants_stream)
    assert answer.status == 502
    assert answer.error


# -- NDJSON -----------------------------------------------------------------------------------------------

OLLAMA = '[providers.up]\npreset = "ollama"\n'
LINES = [*map(line, WORDS), line(done="stop")]


def told_by_ollama(answer):
    """The chunks of an answer that came from Ollama, without what they all have."""
    return [event if event == DONE else event["choices"][0] for event in payloads(answer.body)]


async def test_c49_lines_split_and_joined_at_every_byte(nursery, autojump_clock):
    """Until a line is whole nothing of it reaches the client, and never anything of Ollama's dialect."""
    body = ndjson(*LINES)
    scripts = [[NDJSON, chunked(body[:at]), chunked(body[at:]) + LAST] for at in range(1, len(body))]
    answers = await ask_all(nursery, scripts, OLLAMA, stream=True)
    expected = told_by_ollama(answers[0])
    assert expected == [event if event == DONE else event["choices"][0] for event in EXPECTED]
    assert all(told_by_ollama(answer) == expected for answer in answers)


NDJSON_FORMS = {
    "one line a piece": [ndjson(value) for value in LINES],
    "all in one": [ndjson(*LINES)],
    "blank lines": [b"\n\n", *(ndjson(value) + b"\n \r\n" for value in LINES)],
    "CRLF": [ndjson(*LINES).replace(b"\n", b"\r\n")],
    "a last line without LF": [ndjson(*LINES).removesuffix(b"\n")],
    "no done but a done_reason": [ndjson(*LINES[:-1], {k: v for k, v in LINES[-1].items() if k != "done"})],
    "as an event stream": [sse(*LINES)],
}


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("pieces", NDJSON_FORMS.values(), ids=NDJSON_FORMS)
async def test_c49_lines_in_any_form(nursery, autojump_clock, pieces, wants_stream):
    answer = await ask(nursery, NDJSON, *map(chunked, pieces), LAST, toml=OLLAMA, stream=wants_stream)
    assert said_by(answer) == SAID


async def test_c49_an_error_line_after_200(nursery, autojump_clock):
    broken = ndjson(line("Hel"), {"error": "the model runner has stopped"})
    answer = await ask(nursery, NDJSON, chunked(broken), LAST, toml=OLLAMA, stream=True)
    assert content(payloads(answer.body)[:-1]) == "Hel"
    assert payloads(answer.body)[-1]["error"]["message"] == "the model runner has stopped"
    assert DONE not in payloads(answer.body)


@pytest.mark.parametrize("wants_stream", [True, False])
async def test_c49_an_error_line_first(nursery, autojump_clock, wants_stream):
    answer = await ask(nursery, NDJSON, chunked(ndjson({"error": "m"})), LAST, toml=OLLAMA, stream=wants_stream)
    assert answer.status == 502
    assert answer.error["message"] == "m"


@pytest.mark.parametrize("end", [LAST, CLOSE], ids=["clean", "broken"])
async def test_c49_an_end_without_done(nursery, autojump_clock, end):
    answer = await ask(nursery, NDJSON, chunked(ndjson(line("Hel"))), end, toml=OLLAMA, stream=True)
    assert content(payloads(answer.body)[:-1]) == "Hel"
    assert "complete" in payloads(answer.body)[-1]["error"]["message"]
    assert DONE not in payloads(answer.body)


# -- escaping ---------------------------------------------------------------------------------------------

AWKWARD = 'quote " slash / back \\ \b\f\n\r\t nul \0 del \x7f Ж \u2028 \u2029 \x85 \ufeff 😀 </script> \\u0041'
SOURCES = {
    "escaped": (STREAM + chunked(with_halves(role(), text(AWKWARD), finish()) + sse(DONE)), ""),
    "raw": (STREAM + chunked(sse(role(), text(AWKWARD), finish(), DONE)), ""),
    "whole, escaped": (reply(json.dumps(completion(AWKWARD))), ""),
    "whole, raw": (reply(completion(AWKWARD)), ""),
    "Ollama's": (NDJSON + chunked(ndjson(line(AWKWARD), line(done="stop"))), OLLAMA),
}


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize(("wire", "toml"), SOURCES.values(), ids=SOURCES)
async def test_c50_output_is_real_json(nursery, autojump_clock, wire, toml, wants_stream):
    """And what some readers of lines take for a line end is escaped in it."""
    end = [LAST] if b"chunked" in wire.partition(b"\r\n\r\n")[0] else []
    answer = await ask(nursery, wire, *end, toml=toml, stream=wants_stream)
    assert said_by(answer) == AWKWARD
    if wants_stream:
        assert answer.body.decode().splitlines() == answer.body.decode().split("\n")[:-1]
