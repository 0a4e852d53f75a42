"""`dialects.responses`: streams, both ways."""

import json

import pytest

import feeding
from chat_streams import MULTILINGUAL, ROLE, chunk, drive, relayed, sse
from penstock.protocol.chat import (
    NEW_ENTRY,
    Answer,
    Choice,
    End,
    Failed,
    Finish,
    Reasoning,
    Refusal,
    Start,
    Text,
    ToolCall,
    Usage,
)
from penstock.protocol.dialects import responses
from penstock.protocol.dialects.responses_output import MAX_ITEMS
from penstock.protocol.dialects.source import MAX_TOOL_CALLS
from penstock.protocol.relay import Relay
from responses_streams import FULL, USAGE, added, delta, done, ended, message, read, response, shown, stream

START = Start("resp_1", "org/model-a", 1760000000)
CREATED = {"type": "response.created", "response": response()}
COUNTS = Usage(9, 7, 16, 4, 3, USAGE)
FULL_EVENTS = [
    START,
    Reasoning("hm, "),
    Reasoning("yes"),
    Reasoning("", 0, "gAAA"),
    Text("Hé"),
    Text("llo"),
    ToolCall(0, 0, "call_1", "f", ""),
    ToolCall(0, 0, "", "", '{"x":'),
    ToolCall(0, 0, "", "", "1}"),
    Finish(0, "tool_calls"),
    COUNTS,
    End(),
]


def decoded(data, splits=400, **options):
    """All events of a stream, after checking that no cut changes them."""

    def events(chunks):
        decoder = responses.StreamDecoder(**options)
        found = [event for part in chunks for event in decoder.feed(part)] + decoder.close()
        return found, decoder.usage, str(decoder.life.ending)

    expected = events([data])
    for chunks in feeding.cuts(data, splits=splits):
        assert events(chunks) == expected, f"cut as {chunks!r}"
    return expected


def told(*events, **options):
    """What a stream says, without its start."""
    found = decoded(stream(CREATED, *events), **options)[0]
    return found[1:] if found[0] == START else found


# -- streams: Responses to events -------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_c29_a_full_stream_with_and_without_event_lines(named):
    data = stream(*FULL, named=named)
    events, usage, ending = decoded(data, splits=len(data) if named else 0)
    assert events == FULL_EVENTS
    assert (usage, ending) == (COUNTS, "completed")


@pytest.mark.parametrize(
    "kinds",
    [
        ["created", "output_item.done", "completed"],
        ["created", "completed"],
        ["created", "done", "completed"],
        ["created", "output_item.added", "output_item.done", "completed"],
        ["created", "output_item.added", "completed"],
    ],
)
def test_whatever_is_left_out_the_answer_is_whole(kinds):
    """Servers tell some of it only: the items, the whole texts, or nothing but the last response."""
    some = [event for event in FULL if event["type"].endswith(tuple(kinds))]
    whole = responses.decode_response(json.dumps(FULL[-1]["response"]).encode())
    text = "".join(event.text for event in decoded(stream(*some))[0] if isinstance(event, Text))
    thought = [event for event in decoded(stream(*some))[0] if isinstance(event, Reasoning)]
    calls = [event[3:] for event in decoded(stream(*some))[0] if isinstance(event, ToolCall)]
    assert text == whole.choices[0].text == "Héllo"
    assert thought == [Reasoning("hm, yes"), Reasoning("", 0, "gAAA")]
    assert ("".join(name for name, _ in calls), "".join(said for _, said in calls)) == ("f", '{"x":1}')


def test_items_without_places_are_known_by_their_ids():
    events = [{k: v for k, v in event.items() if k != "output_index"} for event in FULL]
    assert decoded(stream(*events), splits=0)[0] == FULL_EVENTS


def test_items_whose_ids_change_are_known_by_their_places():
    events = [
        {**event, "item_id": f"x{at}"}
        if "item_id" in event
        else {**event, "item": {**event["item"], "id": f"y{at}"}}
        if "item" in event
        else event
        for at, event in enumerate(FULL)
    ]
    events[-1] = ended()
    assert decoded(stream(*events), splits=0)[0] == FULL_EVENTS


def test_deltas_without_any_item():
    thought = {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    found = told({"type": "response.output_text.delta", "delta": "a"}, ended(output=[5, message("a", 7), thought]))
    assert found == [Text("a"), Reasoning("hm"), Finish(0, "stop"), COUNTS, End()]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([delta("refusal", 0, "no"), delta("refusal", 0, " way")], [Refusal("no"), Refusal(" way")]),
        ([done(0, {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]})], [Refusal("no")]),
        ([done(0, {"type": "message", "content": "plain"})], [Text("plain")]),
        ([done(0, {"content": [{"type": "text", "text": "a"}, {"type": "odd"}, 5]})], [Text("a")]),
        ([delta("output_text", 0, "a"), delta("output_text", 0, "b", 1)], [Text("a"), Text("b")]),
        ([delta("output_text", 0, ""), delta("output_text", 0, None), delta("output_text", 0, "a")], [Text("a")]),
        (
            [delta("reasoning_summary_text", 0, "a"), delta("reasoning_summary_text", 0, "b", 1)],
            [Reasoning("a"), Reasoning("\n\nb")],
        ),
        (
            [
                delta("reasoning_text", 0, "raw"),
                delta("reasoning_summary_text", 0, "short"),
                delta("output_text", 1, "a"),
            ],
            [Reasoning("raw"), Text("a")],
        ),
        (
            [
                done(0, {"type": "reasoning", "encrypted_content": "x"}),
                done(0, {"type": "reasoning", "encrypted_content": "x"}),
            ],
            [Reasoning("", 0, "x")],
        ),
        (
            [
                done(
                    0,
                    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "a"}], "encrypted_content": 5},
                ),
                done(1, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "b"}]}),
            ],
            [Reasoning("a"), Reasoning("\n\nb")],
        ),
    ],
)
def test_texts(events, said):
    assert told(*events, ended()) == [*said, Finish(0, "stop"), COUNTS, End()]


def test_calls_of_tools_that_take_free_text():
    item = {"type": "custom_tool_call", "id": "c", "call_id": "call_9", "name": "patch"}
    place = {"item_id": "c", "output_index": 0}
    found = told(
        added(0, {**item, "input": ""}),
        {"type": "response.custom_tool_call_input.delta", **place, "delta": "*** Begin"},
        {"type": "response.custom_tool_call_input.done", **place, "input": "*** Begin"},
        done(0, {**item, "input": "*** Begin"}),
        ended(output=[{**item, "input": "*** Begin"}]),
    )
    assert found[:2] == [ToolCall(0, 0, "call_9", "patch", ""), ToolCall(0, 0, "", "", "*** Begin")]
    assert found[2] == Finish(0, "tool_calls")


def test_a_call_whose_name_comes_late_and_one_without_id():
    place = {"output_index": 0}
    begun, said, name, *_ = told(
        {"type": "response.function_call_arguments.delta", **place, "delta": "{}"},
        {"type": "response.function_call_arguments.done", **place, "arguments": "{}", "name": "f"},
        done(0, {"type": "function_call", "name": "f", "arguments": "{}"}),
        ended(),
    )
    assert begun[:2] == (0, 0)
    assert begun.id.startswith("call_")
    assert (begun.name, said.arguments, name) == ("", "{}", ToolCall(0, 0, "", "f", ""))


def test_c49_split_surrogates_are_joined_and_lone_ones_replaced():
    data = stream(
        CREATED,
        delta("output_text", 0, "a\ud83d"),
        delta("output_text", 0, "\ude00b\udc00\ud83d"),
        delta("function_call_arguments", 1, '"\ud83d'),
        done(0, message("told already")),
        delta("reasoning_text", 2, "\ud83d"),
        done(3, message("c\ud83d", 3)),
        ended(),
    )
    events = decoded(data)[0]
    assert "".join(event.text for event in events if isinstance(event, Text)) == "a😀b\ufffd\ufffdc\ufffd"
    assert "".join(event.arguments for event in events if isinstance(event, ToolCall)) == '"\ufffd'
    assert [event.text for event in events if isinstance(event, Reasoning)] == ["\ufffd"]


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (ended("incomplete"), "length"),
        (
            {"type": "response.completed", "response": response("incomplete", incomplete_details={}, usage=USAGE)},
            "stop",
        ),
        ({"type": "response.done", "response": response("completed", usage=USAGE)}, "stop"),
    ],
)
def test_c29_the_end_and_its_reason(last, reason):
    assert told(delta("output_text", 0, "a"), last)[1:] == [Finish(0, reason), COUNTS, End()]


def test_an_end_without_usage_or_response():
    assert told(delta("output_text", 0, "a"), {"type": "response.completed"})[1:] == [Finish(0, "stop"), End()]


SLOW = {"code": "rate_limit_exceeded", "message": "slow"}
FAILURES = {
    "response.failed": (
        {"type": "response.failed", "response": response("failed", error=SLOW, usage=USAGE)},
        ("slow", 429, "rate_limit_error", "rate_limit_exceeded"),
    ),
    "response.failed that says nothing": (
        {"type": "response.failed", "response": response("failed", usage=USAGE)},
        ("the upstream says that its response is failed, and not why", 502, "server_error", "upstream_error"),
    ),
    "response.cancelled": (
        {"type": "response.cancelled", "response": response("cancelled")},
        ("the upstream says that its response is cancelled, and not why", 502, "server_error", "upstream_error"),
    ),
    "flat error": (
        {"type": "error", "code": "context_length_exceeded", "message": "long", "param": "input"},
        ("long", 400, "invalid_request_error", "context_length_exceeded"),
    ),
    "nested error": (
        {"type": "error", "error": {"type": "server_error", "code": "boom", "message": "oops", "param": None}},
        ("oops", 502, "server_error", "boom"),
    ),
}


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("name", FAILURES)
def test_c24_failures(name, begun):
    last, said = FAILURES[name]
    events, usage, ending = decoded(stream(CREATED, *([delta("output_text", 0, "a")] if begun else []), last))
    assert [type(event) for event in events] == ([Start, Text, Failed] if begun else [Failed])
    failed = events[-1]
    assert (failed.message, failed.status, failed.type, failed.code) == said
    assert (ending, usage) == ("failed", COUNTS if "usage" in last.get("response", {}) else None)


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n", b'event: response.completed\ndata: {"type":'])
def test_c20_c29_an_end_without_the_last_event_is_truncated(tail):
    events, usage, ending = decoded(stream(CREATED, delta("output_text", 0, "a")) + tail)
    assert [type(event) for event in events] == [Start, Text, Failed]
    assert (usage, ending) == (None, "truncated")
    assert decoded(stream(CREATED, tail))[2] == "failed", "nothing was said"


def test_what_follows_the_end_is_not_looked_at():
    data = stream(*FULL)
    assert decoded(data + b"data: [DONE]\n\n", splits=0) == decoded(data + stream(ended("failed")), splits=0)


def test_a_completed_response_without_output_is_complete():
    assert told(ended()) == [Finish(0, "stop"), COUNTS, End()]


def test_events_of_no_use_are_passed_over():
    odd = [
        {"type": "response.queued", "response": {"id": 5, "model": "", "created_at": float("1e300")}},
        {"type": "response.output_item.added", "item": None},
        {"type": "response.output_text.annotation.added", "annotation": {}},
        {"type": "response.web_search_call.searching", "output_index": 0},
        {"type": "keepalive"},
        b'data: {"type":7}\n\n',
        b"data: 5\n\n",
    ]
    assert told(*odd, delta("output_text", 0, "a"), ended())[0] == Text("a")


def test_hosted_tools_are_the_beginning_of_an_answer():
    events = [CREATED, added(0, {"type": "web_search_call", "id": "ws_1"})]
    assert decoded(stream(*events))[2] == "truncated"
    assert decoded(stream(*events, done(0, {"type": "web_search_call"}), ended()))[0][1] == Finish(0, "stop")


def test_the_identity_stands_in_where_the_upstream_has_none():
    events = decoded(
        stream(delta("output_text", 0, "a"), {"type": "response.completed"}), id="own", created=5, model="m"
    )[0]
    assert events[0] == Start("own", "m", 5)


def test_limits():
    calls = [added(at, {"type": "function_call", "call_id": f"c{at}", "name": "f"}) for at in range(MAX_TOOL_CALLS + 1)]
    *events, failed = decoded(stream(CREATED, *calls), splits=0)[0]
    assert len(events) == 1 + MAX_TOOL_CALLS
    assert "tool calls" in failed.message
    parts = [delta("output_text", 0, "a", at) for at in range(MAX_ITEMS)]
    *events, failed = decoded(stream(CREATED, *parts), splits=0)[0]
    assert len(events) == 1 + MAX_ITEMS - 2, "both names of the item count"
    assert "items" in failed.message


def test_long_ids_are_not_remembered():
    found = told(delta("output_text", 0, "a", item="x" * 257), delta("output_text", 0, "b", item="y" * 257), ended())
    assert found[:2] == [Text("a"), Text("b")]


def test_a_whole_response_in_the_place_of_a_stream():
    body = json.dumps(FULL[-1]["response"]).encode()
    decoder = responses.StreamDecoder("json")
    events = decoder.feed(body) + decoder.close()
    assert events[0] == START
    assert Text("Héllo") in events
    assert events[-1] == End()
    decoder = responses.StreamDecoder("json")
    assert "not complete" in (decoder.feed(json.dumps(response("queued")).encode()) + decoder.close())[0].message


# -- streams: events to Responses -------------------------------------------------------------------------


def encoded(*events, **options):
    """The events of a stream, each encoded on its own; joined they are the same as encoded at once."""
    options = {"id": "chatcmpl-own", "created": 5, "model": "own"} | options
    one, whole = responses.StreamEncoder(**options), responses.StreamEncoder(**options)
    parts = b"".join(one.encode([event]) for event in events)
    assert parts == whole.encode(events)
    assert one.encode([Text("more"), End()]) == b"", "nothing follows the end"
    return read(parts)


def test_text_in_the_order_that_clients_insist_on():
    events = encoded(START, Text("Hel"), Text(""), Text("lo"), Finish(0, "stop"), Usage(9, 7, 16, 4, 3), End())
    assert shown(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    place = {"item_id": "msg_1_0", "output_index": 0, "content_index": 0}
    assert events[4] == {
        "type": "response.output_text.delta",
        "sequence_number": 4,
        **place,
        "delta": "Hel",
        "logprobs": [],
    }
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    assert events[7] == {"type": "response.content_part.done", "sequence_number": 7, **place, "part": part}
    item = {"id": "msg_1_0", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    assert events[8]["item"] == item
    final = events[-1]["response"]
    assert final["output"] == [item]
    assert final["usage"] == USAGE
    assert {key: final[key] for key in ("id", "object", "created_at", "status", "model", "error")} == {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "status": "completed",
        "model": "org/model-a",
        "error": None,
    }
    first = events[0]["response"]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)


def test_reasoning_is_a_summary_and_a_signature_ends_it():
    thoughts = [Reasoning("hm"), Reasoning("", 0, "sig"), Reasoning("more"), Reasoning("", 0, "redacted")]
    events = encoded(*thoughts, Text("a"), Reasoning("", 0, "alone"), Finish(0, "stop"), End())
    assert shown(events)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
    ]
    output = events[-1]["response"]["output"]
    assert [item["id"] for item in output] == ["rs_own_0", "rs_own_1", "msg_own_2", "rs_own_3"]
    assert output[0] == {
        "id": "rs_own_0",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "sig",
    }
    assert output[3] == {"id": "rs_own_3", "type": "reasoning", "summary": [], "encrypted_content": "alone"}


def test_tool_calls_that_alternate_end_with_the_choice():
    events = encoded(
        Text("a"),
        ToolCall(0, 0, "call_a", "f", '{"x"'),
        ToolCall(0, 1, "call_b", "g", ""),
        ToolCall(0, 0, "", "", ":1}"),
        ToolCall(0, 2, "", "", ""),
        ToolCall(0, 2, "", "late", " "),
        Text("b"),
        Finish(0, "tool_calls"),
        End(),
    )
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", *["function_call"] * 3, "message"]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in output[1:4]] == [
        ("call_a", "f", '{"x":1}'),
        ("call_b", "g", "{}"),
        ("fc_own_3", "late", " {}"),
    ]
    assert shown(events)[-6:-1] == [
        "function_call_arguments.done",
        "output_item.done",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]


def test_tools_that_take_free_text_have_items_of_their_own():
    request = {"tools": [{"type": "custom", "name": "patch"}, {"type": "function", "name": "f"}, "odd"]}
    call = ToolCall(0, 0, "call_a", "patch", "*** Begin")
    events = encoded(call, Finish(0, "tool_calls"), End(), request=request)
    assert shown(events)[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    item = {"id": "ctc_own_0", "type": "custom_tool_call", "status": "completed", "call_id": "call_a"}
    assert events[-1]["response"]["output"] == [{**item, "name": "patch", "input": "*** Begin"}]
    assert encoded(call._replace(arguments=""), End(), request=request)[-1]["response"]["output"][0]["input"] == ""


def test_a_refusal_is_a_part_of_the_message():
    events = encoded(Text("a"), Refusal("no"), Refusal(" way"), Finish(0, "stop"), End())
    [item] = events[-1]["response"]["output"]
    assert item["content"][1] == {"type": "refusal", "refusal": "no way"}
    assert shown(events)[5:12] == [
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
    ]


@pytest.mark.parametrize(("reason", "said"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_breaks_off_is_incomplete_in_its_last_item(reason, said):
    call = ToolCall(0, 0, "call_a", "f", '{"x')
    events = encoded(Text("a"), call, Finish(0, reason), End())
    final = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert (final["status"], final["incomplete_details"]) == ("incomplete", {"reason": said})
    assert [item["status"] for item in final["output"]] == ["completed", "incomplete"]
    assert final["output"][1]["arguments"] == '{"x'
    assert encoded(Text("a"), Finish(0, reason), End())[-1]["response"]["output"][0]["status"] == "incomplete"
    assert encoded(Finish(0, reason), End())[-1]["response"]["output"] == []


def test_what_is_repeated_of_the_request():
    request = {
        "model": "asked",
        "instructions": "Be brief",
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "none",
        "temperature": 0.5,
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
        "text": {"format": {"type": "json_object"}},
        "reasoning": {"effort": "low"},
        "store": False,
        "top_p": None,
        "user": "u",
        "input": "not repeated",
    }
    for event in (encoded(Text("a"), End(), request=request)[at] for at in (0, 1, -1)):
        said = event["response"]
        assert {key: said.get(key) for key in request} | {"input": "not repeated", "model": "asked"} == request
        assert (said["model"], said["truncation"], "input" in said) == ("own", "disabled", False)


FAILED = Failed("boom", code="rate_limit_exceeded", type="rate_limit_error", param="p")


@pytest.mark.parametrize("begun", [[], [Text("a")], [Text("a"), ToolCall(0, 0, "call_a", "f", '{"x')]])
def test_a_failure_is_told_twice_and_nothing_follows(begun):
    events = encoded(*begun, Usage(1, 2, 3), FAILED)
    *before, failed, error = events
    assert shown([failed, error]) == ["failed", "error"]
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "boom"}
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["usage"]["total_tokens"] == 3
    assert failed["response"]["output"][-1:] == [] or failed["response"]["output"][-1]["status"] == "incomplete"
    assert error == {
        "type": "error",
        "sequence_number": len(before) + 1,
        "error": {"type": "rate_limit_error", "code": "rate_limit_exceeded", "message": "boom", "param": "p"},
    }
    calls = [event for event in events if "function_call" in event["type"] and event["type"].endswith("done")]
    assert calls == [], "a client would run a call that is told as whole"


@pytest.mark.parametrize(
    "event",
    [
        Text("x" * 600),
        Reasoning("x" * 600),
        Refusal("x" * 600),
        Reasoning("", 0, "x" * 600),
        ToolCall(0, 1, "a", "f", "x" * 600),
    ],
)
def test_what_is_held_is_bounded(event):
    encoder = responses.StreamEncoder(id="r", max_held_bytes=NEW_ENTRY + 100)
    events = read(encoder.encode([Text("a" * 50), event, Text("more"), End()]))
    assert shown(events)[-2:] == ["failed", "error"]
    assert events[-2]["response"]["output"] == []
    assert encoder.failed.message == events[-1]["error"]["message"]
    assert encoder.failed.message.endswith("more than 612 bytes")


def test_what_is_held_counts_each_part_and_item():
    for events in ([Text("a"), Refusal("b")], [Text("a"), Reasoning("b")], [ToolCall(0, 0, "a", "f", ""), Text("a")]):
        encoder = responses.StreamEncoder(id="r", max_held_bytes=10 * NEW_ENTRY)
        read(encoder.encode([event for at in range(10) for event in renumbered(events, at)] + [End()]))
        assert encoder.failed is not None


def renumbered(events, at):
    return [event._replace(index=at) if isinstance(event, ToolCall) else event for event in events]


def test_choices_other_than_the_first_cannot_be_carried():
    events = encoded(
        Text("a", 1), Text("b"), Reasoning("c", 1), ToolCall(1, 0, "x", "f", ""), Finish(1, "length"), End()
    )
    assert [item["content"][0]["text"] for item in events[-1]["response"]["output"]] == ["b"]
    assert events[-1]["type"] == "response.completed"


def test_the_identity_does_not_change_once_it_was_told():
    assert encoded(Text("a"), START, Text("b"), End())[-1]["response"]["id"] == "resp_own"
    assert encoded(Start("", "", 0), Text("a"), End())[-1]["response"]["model"] == "own"


def test_a_keeper_of_responses_gives_its_own_ids():
    own = {"id": "resp_mine", "store": True}
    encoder = responses.StreamEncoder(id="resp_given", own=own)
    events = read(encoder.encode([START, Text("a"), End()]))
    assert {event["response"]["id"] for event in events if "response" in event} == {"resp_mine"}
    assert events[-1]["response"]["output"][0]["id"] == "msg_mine_0"
    answer = Answer("chatcmpl-1", "m", 5, [Choice(0, "a", "", "", [], "stop")], None)
    told = json.loads(responses.encode_response(answer, own=own))
    assert (told["id"], told["store"], told["output"][0]["id"]) == ("resp_mine", True, "msg_mine_0")


@pytest.mark.parametrize("cut", [1, 7, None])
def test_also_where_the_upstream_speaks_this_api(cut):
    own = {"id": "resp_mine", "store": True}
    sent = stream(*FULL)
    relay = Relay("responses", "responses", encoding={"request": {}, "own": own})
    pieces = [sent[at : at + (cut or len(sent))] for at in range(0, len(sent), cut or len(sent))]
    blocks = b"".join([*map(relay.feed, pieces), relay.close()]).split(b"\n\n")[:-1]
    before = sent.split(b"\n\n")[:-1]
    assert len(blocks) == len(before)
    for block, original in zip(blocks, before, strict=True):
        name, data = block.split(b"\n")
        event = json.loads(original.split(b"data: ")[1])
        if "response" in event:
            assert name == b"event: " + event["type"].encode()
            assert json.loads(data[6:]) == {**event, "response": {**event["response"], **own}}
        else:
            assert block == original, "what does not name the response passes as it came"
    whole = json.dumps(FULL[-1]["response"]).encode()
    body, usage = responses.mend_response(whole, own=own)
    assert json.loads(body) == {**FULL[-1]["response"], **own}
    assert usage.total == 16
    passage = Relay("responses", "responses", content_type="application/json", encoding={"own": own})
    (*_, last) = read(passage.feed(whole) + passage.close())
    assert (last["type"], last["response"]["id"]) == ("response.completed", "resp_mine")


# -- there and back ---------------------------------------------------------------------------------------


def joined(events):
    """Events with the deltas of one text joined, for a stream may cut them anywhere."""
    out = []
    for event in events:
        before = out[-1] if out else None
        same = type(before) is type(event)
        if same and isinstance(event, (Text, Refusal, Reasoning)) and not getattr(before, "signature", ""):
            out[-1] = event._replace(text=before.text + event.text)
        elif same and isinstance(event, ToolCall) and before.index == event.index:
            out[-1] = before._replace(arguments=before.arguments + event.arguments)
        else:
            out.append(event)
    return out


def test_what_is_encoded_is_decoded():
    said = [
        START,
        Reasoning("hm"),
        Reasoning("", 0, "sig"),
        *map(Text, MULTILINGUAL),
        Refusal("no"),
        ToolCall(0, 0, "call_1", "f", '{"é":'),
        ToolCall(0, 0, "", "", "1}"),
        ToolCall(0, 1, "call_2", "g", "{}"),
        Finish(0, "tool_calls"),
        COUNTS,
        End(),
    ]
    data = responses.StreamEncoder().encode(said)
    found = decoded(data)[0]
    assert joined(found) == joined(said)
    assert found == decoded(responses.StreamEncoder().encode(found), splits=0)[0], "encoded again, it is the same"


def test_the_encoder_reads_like_openais_own_server():
    """Apart from ids, what the encoder makes of a full stream is that stream."""
    events = decoded(stream(*FULL), splits=0)[0]
    alike = [{"type": event["type"]} for event in read(responses.StreamEncoder().encode(events))]
    assert alike[:-1] == [{"type": event["type"]} for event in FULL[:-1]]


# -- translation ------------------------------------------------------------------------------------------


def test_responses_to_openai():
    found = relayed(stream(*FULL), "responses", "openai", include_usage=True, splits=0)
    kinds = [list(entry[1]) for entry in found.told[:-3] if entry[1]]
    assert found.told[0] == (0, ROLE, None)
    assert "".join(entry[1].get("content", "") for entry in found.told[:-2]) == "Héllo"
    assert "".join(entry[1].get("reasoning_content", "") for entry in found.told[:-2]) == "hm, yes"
    assert ["tool_calls"] in kinds
    assert found.told[-3] == (0, {}, "tool_calls")
    usage = found.told[-2][1]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (9, 7, 16)
    assert found.kind == "completed"


@pytest.mark.parametrize("end", ["[DONE]", "cut"])
def test_openai_to_responses(end):
    call = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    objects = [
        chunk(ROLE),
        chunk({"reasoning_content": "hm"}),
        chunk({"content": "Héllo"}),
        chunk({"tool_calls": [call]}),
    ]
    if end == "cut":
        found = relayed(sse(*objects, done=False), "openai", "responses")
        assert shown(read(found.out))[-2:] == ["failed", "error"]
        assert found.kind == "truncated"
        return
    last = {**chunk(), "choices": [], "usage": usage}
    found = relayed(
        sse(*objects, chunk({}, "tool_calls"), last), "openai", "responses", encoding={"request": {"user": "u"}}
    )
    final = read(found.out)[-1]["response"]
    assert [item["type"] for item in final["output"]] == ["reasoning", "message", "function_call"]
    assert (final["id"], final["user"], final["usage"]["total_tokens"]) == ("resp_1", "u", 5)
    assert found.kind == "completed"


def test_a_stream_that_fails_before_it_begins_has_not_started():
    for sink in ("openai", "responses"):
        found = relayed(stream(CREATED, FAILURES["response.failed"][0]), "responses", sink)
        assert (found.out, found.started, found.kind) == (b"", False, "failed")
        assert found.failed.status == 429


def test_more_than_is_held_is_a_failure_of_the_relay():
    relay = Relay("openai", "responses", encoding={"max_held_bytes": 600})
    out, ending, failed, *_ = drive(relay, [sse(chunk(ROLE), chunk({"content": "x" * 700}), chunk({}, "stop"))])
    assert shown(read(out))[-2:] == ["failed", "error"]
    assert (str(ending), failed.status) == ("failed", 502)
