"""C31: whatever one upstream sends, one stream fails; the others, and the process, go on."""

import pytest
import trio

import answers
from answers import DONE, LAST, STREAM, chunked, finish, reply, role, sse, stream, text
from rig import Rig, settled
from scripted import RESET, Upstream

BEGUN = chunked(sse(role(), text("Hel")))
GOOD = stream(role(), text("Hello"), finish(), DONE)
LIMITS = "[limits]\nframe_bytes = 20000\n"


def event(data):
    return chunked(b"data: " + (data if isinstance(data, bytes) else data.encode()) + b"\n\n")


def chunk(choices):
    return event(f'{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":{choices}}}')


BROKEN = {
    "no JSON": event("{oops"),
    "half a JSON": event('{"choices":[{"index":0,"delta":{"content":"x"}}'),
    "too deep": event("[" * 5000 + "]" * 5000),
    "too deep inside": chunk(
        '[{"index":0,"delta":{"content":"x"},"logprobs":' + '{"a":' * 400 + "1" + "}" * 400 + "}]"
    ),
    "a number of 9,000 digits": chunk('[{"index":' + "9" * 9000 + ',"delta":{"content":"x"}}]'),
    "an event over the limit": event("x" * 30000),
    "an event that never ends": chunked(b"data: " + b"x" * 30000),
    "a chunk size that is none": b"zz\r\n",
    "a chunk that is not closed": b"5\r\nabcdefgh",
    "a reset": (RESET,),
    "a reset within what is no JSON": (chunked(b"data: oops"), RESET),
    "an error": chunked(sse(answers.error("no GPU"))),
}
ODD = {
    "no UTF-8": event(b'{"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}'),
    "NaN": chunk('[{"index":0,"delta":{"content":"x"},"logprobs":NaN}]'),
    "null": event("null"),
    "a number": event("42"),
    "a list": event("[1, 2]"),
    "a text": event('"x"'),
    "an empty object": event("{}"),
    "choices null": chunk("null"),
    "choices a text": chunk('"x"'),
    "choices of numbers": chunk("[1, null, []]"),
    "no delta": chunk('[{"index":0}]'),
    "delta null": chunk('[{"index":0,"delta":null}]'),
    "delta a list": chunk('[{"index":0,"delta":["content"]}]'),
    "an index that is none": chunk('[{"index":"first","delta":{"content":"x"}}]'),
    "an index below zero": chunk('[{"index":-1,"delta":{"content":"x"}}]'),
    "an index of 2 to the 70": chunk(f'[{{"index":{2**70},"delta":{{"content":"x"}}}}]'),
    "content that is an object": chunk('[{"index":0,"delta":{"content":{"a":1}}}]'),
    "content that is a number": chunk('[{"index":0,"delta":{"content":7}}]'),
    "a finish reason that is a number": chunk('[{"index":0,"delta":{},"finish_reason":7}]'),
    "a finish reason that is a list": chunk('[{"index":0,"delta":{},"finish_reason":["stop"]}]'),
    "tool calls that are none": chunk('[{"index":0,"delta":{"tool_calls":"x"}}]'),
    "tool calls of null": chunk('[{"index":0,"delta":{"tool_calls":[null, 1, {}]}}]'),
    "a function that is a text": chunk('[{"index":0,"delta":{"tool_calls":[{"index":0,"function":"f"}]}}]'),
    "arguments that are an object": chunk(
        '[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":{"a":1}}}]}}]'
    ),
    "a tool index that is none": chunk('[{"index":0,"delta":{"tool_calls":[{"index":{},"id":7,"function":{}}]}}]'),
    "usage that is a text": event('{"id":"c","choices":[],"usage":"lots"}'),
    "usage below zero": event('{"id":"c","choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":"x"}}'),
    "an id that is an object": event(
        '{"id":{},"model":[],"created":"now","choices":[{"index":0,"delta":{"content":"x"}}]}'
    ),
    "a lone surrogate": chunk('[{"index":0,"delta":{"content":"\\ud83d"}}]'),
    "keys given twice": chunk('[{"index":0,"index":1,"delta":{"content":"a"},"delta":{"content":"b"}}]'),
    "only line ends": chunked(b"\n\n\r\n\r\r\n\n"),
    "fields that are none": chunked(b"data\ndata:\nid: \0\nretry: soon\nnonsense\n: \n\n"),
    "an error that is nothing": event('{"error": [[]]}'),
    "an error that is true": event('{"error": true}'),
}
BROKEN_OFF = ("a reset", "a chunk size that is none", "a chunk that is not closed")
PLACES = {
    "as the first event": lambda *bad: [STREAM, *bad],
    "in the middle": lambda *bad: [STREAM, BEGUN, *bad],
    "after the finish": lambda *bad: [STREAM, BEGUN, chunked(sse(finish())), *bad],
}
REST = chunked(sse(text("lo"), finish(), DONE)) + LAST


async def beside(nursery, script, caplog, *, streams):
    """Serve `script` beside a stream that began before and ends after it; return what the bad one's client got."""
    on = trio.Event()
    upstream = Upstream(nursery, [STREAM, BEGUN, on, REST], script, GOOD)
    rig = Rig(nursery, upstream, LIMITS)
    neighbour, client = rig.connect(), rig.connect()
    await neighbour.chat(stream=True)
    await settled()
    await client.chat(stream=streams)
    answer = await client.answer()
    on.set()
    assert (await neighbour.answer()).text == "Hello"
    await settled()
    fresh = rig.connect()
    await fresh.chat(stream=True)
    assert (await fresh.answer()).events[-1] == DONE
    await settled()
    assert sum(rig.gateway.ledger.endings.values()) == 3
    assert rig.gateway.ledger.in_flight == 0
    assert "bug while serving" not in caplog.text
    return answer


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", BROKEN)
async def test_c31_what_cannot_be_read_fails_one_stream(nursery, autojump_clock, caplog, bad, place, streams):
    steps = BROKEN[bad] if isinstance(BROKEN[bad], tuple) else (BROKEN[bad], REST)
    answer = await beside(nursery, PLACES[place](*steps), caplog, streams=streams)
    if place == "after the finish" and bad in BROKEN_OFF:  # all had been said
        assert answer.status == 200
        assert DONE in answer.body.decode() if streams else answer.json["choices"][0]["finish_reason"] == "stop"
    elif streams and place != "as the first event":
        assert answer.events[-1]["error"]["message"]
        assert DONE not in answer.events
        assert answer.text == "Hel"
    else:
        assert answer.status in (502, 503)
        assert answer.error["message"]


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("odd", ODD)
async def test_c31_what_is_odd_is_borne_or_fails_one_stream(nursery, autojump_clock, caplog, odd, place, streams):
    """What becomes of each is the dialect's to say; here it only must not be a bug, and end well or in an error."""
    answer = await beside(nursery, [*PLACES[place](ODD[odd]), REST], caplog, streams=streams)
    if answer.status != 200:
        assert answer.status in (502, 503)
        assert answer.error["message"]
    elif streams:
        assert (answer.events[-1] == DONE) != ("error" in answer.events[-1])
    else:
        assert answer.json["choices"]


async def test_c31_a_bad_whole_answer_fails_alone(nursery, autojump_clock, caplog):
    for body in (b"{oops", b"null", b"[]", b'{"choices": "x"}', b'{"choices": [null]}', b"\xff\xfe", b"", b"[" * 5000):
        answer = await beside(nursery, [reply(body)], caplog, streams=False)
        assert answer.status == 502, body
        assert answer.error["message"]
