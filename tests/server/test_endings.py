"""The truth of the ending: what a client is told when an upstream ends, breaks off or fails."""

import json

import pytest
import trio.testing

from answers import (
    DONE,
    LAST,
    STREAM,
    chunked,
    completion,
    delta,
    error,
    finish,
    head,
    payloads,
    reply,
    role,
    sse,
    stream,
    text,
    usage,
)
from rig import Rig
from scripted import CLOSE, HALF_CLOSE, RESET, Upstream

HEL = [role(), text("Hel")]
BEGUN = [STREAM, chunked(sse(*HEL))]
COMMENT = chunked(b": processing\n\n")
METADATA = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{"index": 0}]}
ROUTE = '[routes.safe]\nproviders = ["up", "backup"]\n'


async def ask(nursery, *script, toml="", **body):
    """The answer to one chat whose upstream follows `script`, and the gateway's counted endings."""
    rig = Rig(nursery, Upstream(nursery, script), toml)
    answer = await rig.ask(**body)
    await trio.testing.wait_all_tasks_blocked()  # the client may have read the end before it was booked
    assert rig.gateway.ledger.in_flight == 0
    return answer, dict(rig.gateway.ledger.endings)


def chunks_and_error(answer):
    """The chunks that came before the error that ends a stream, and that error: the one terminal event there is."""
    assert answer.status == 200
    *chunks, last = payloads(answer.body)
    assert list(last) == ["error"]
    assert last["error"].keys() == {"message", "type", "param", "code"}
    assert last["error"]["message"]
    assert DONE not in chunks
    assert not any("error" in chunk for chunk in chunks)
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    return chunks, last["error"]


# -- the upstream breaks off ------------------------------------------------------------------------------

NOTHING = {
    "closed before the head": [CLOSE],
    "reset before the head": [RESET],
    "closed within the head": [b"HTTP/1.1 200 OK\r\nContent-", CLOSE],
    "closed after the head": [STREAM, CLOSE],
    "reset after the head": [STREAM, RESET],
    "an empty body": [STREAM, LAST],
    "no body at all": [head(200, ("Content-Type", "text/event-stream"), ("Content-Length", "0"))],
    "an empty body up to the close": [head(200, ("Content-Type", "text/event-stream")), CLOSE],
    "only comments": [STREAM, COMMENT, COMMENT, LAST],
    "only an event that is cut": [STREAM, chunked(sse(role())[:-40]), LAST],
    "only metadata": [STREAM, chunked(sse(METADATA)), LAST],
    "only the end marker": [STREAM, chunked(sse(DONE)), LAST],
    "metadata and the end marker": [STREAM, chunked(sse(METADATA, DONE)), LAST],
    "only the usage": [STREAM, chunked(sse(usage())), LAST],
}


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("script", NOTHING.values(), ids=NOTHING)
async def test_c19_upstream_dies_before_any_event(nursery, autojump_clock, script, wants_stream):
    answer, endings = await ask(nursery, *script, stream=wants_stream)
    assert answer.status == 502
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["type"] == "server_error"
    assert endings.keys() < {"failed", "truncated"}


async def test_c19_another_upstream_is_tried_as_nothing_was_said(nursery, autojump_clock):
    backup = Upstream(nursery, stream(*HEL, finish(), DONE))
    rig = Rig(nursery, Upstream(nursery, [STREAM, COMMENT, CLOSE]), ROUTE, backup=backup)
    answer = await rig.ask(model="safe/tiny", stream=True)
    assert answer.status == 200
    assert answer.text == "Hel"
    assert answer.headers["x-penstock-provider"] == "backup"
    assert answer.headers["x-penstock-attempts"] == "2"


WIRE = sse(text("lo"))
SIZED = head(200, ("Content-Type", "text/event-stream"), ("Content-Length", "9999"))
BROKEN = {
    "closed": [*BEGUN, CLOSE],
    "reset": [*BEGUN, RESET],
    "half closed": [*BEGUN, HALF_CLOSE],
    "closed within an event": [*BEGUN, chunked(WIRE[:-40]), CLOSE],
    "closed within a chunk": [*BEGUN, chunked(WIRE)[:-40], CLOSE],
    "closed within a character": [*BEGUN, chunked(sse(text("😀"))[:-80]), RESET],
    "closed within the end marker": [*BEGUN, chunked(b"data: [DON"), CLOSE],
    "shorter than its length": [SIZED, sse(*HEL), CLOSE],
    "a transfer coding that is broken": [*BEGUN, b"zz\r\n"],
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
async def test_c20_upstream_dies_in_mid_stream(nursery, autojump_clock, script):
    answer, endings = await ask(nursery, *script, stream=True, stream_options={"include_usage": True})
    chunks, told = chunks_and_error(answer)
    assert chunks == HEL
    assert told["code"] == "upstream_error"
    assert endings == {"truncated": 1}


WHOLE = json.dumps(completion()).encode()


@pytest.mark.parametrize(
    "script",
    [
        [head(200, ("Content-Type", "application/json"), ("Content-Length", str(len(WHOLE)))), WHOLE[:-30], CLOSE],
        [head(200, ("Content-Type", "application/json")), WHOLE[:-30], CLOSE],
        [*BEGUN, CLOSE],
    ],
    ids=["shorter than its length", "without a length", "a stream"],
)
async def test_c20_upstream_dies_within_a_whole_answer(nursery, autojump_clock, script):
    answer, endings = await ask(nursery, *script)
    assert answer.status == 502
    assert "Hel" not in answer.error["message"]
    assert endings == {"truncated": 1}


async def test_c20_nothing_is_tried_again_once_something_was_said(nursery, autojump_clock):
    backup = Upstream(nursery)
    rig = Rig(nursery, Upstream(nursery, [*BEGUN, RESET]), ROUTE, backup=backup)
    chunks_and_error(await rig.ask(model="safe/tiny", stream=True))
    assert backup.connections == 0


UNFINISHED = {
    "no finish reason": HEL,
    "usage is no end": [*HEL, usage()],
    "one of two choices": [role(), role(1), text("a"), text("b", 1), finish("stop", 1)],
}


@pytest.mark.parametrize("said", UNFINISHED.values(), ids=UNFINISHED)
async def test_c21_clean_eof_without_finish_reason(nursery, autojump_clock, said):
    answer, endings = await ask(nursery, *stream(*said), stream=True)
    assert answer.status == 200
    assert DONE not in payloads(answer.body)
    assert payloads(answer.body)[-1]["error"]["code"] == "upstream_error"
    assert endings == {"truncated": 1}


@pytest.mark.parametrize("said", UNFINISHED.values(), ids=UNFINISHED)
async def test_c21_a_stream_without_finish_reason_is_no_whole_answer(nursery, autojump_clock, said):
    answer, endings = await ask(nursery, *stream(*said))
    assert answer.status == 502
    assert answer.error["code"] == "upstream_error"
    assert endings == {"truncated": 1}


async def test_c21_the_end_marker_alone_is_an_end_and_no_reason_is_invented(nursery, autojump_clock):
    answer, endings = await ask(nursery, *stream(*HEL, DONE), stream=True)
    assert payloads(answer.body) == [*HEL, DONE]
    assert endings == {"completed": 1}


async def test_c21_finish_reasons_alone_are_an_end(nursery, autojump_clock):
    said = [*HEL, role(1), finish(), finish("length", 1)]
    answer, endings = await ask(nursery, *stream(*said), stream=True)
    reasons = {c["index"]: c["finish_reason"] for e in payloads(answer.body)[:-1] for c in e["choices"]}
    assert reasons == {0: "stop", 1: "length"}
    assert payloads(answer.body)[-1] == DONE
    assert endings == {"completed": 1}


# -- the upstream says that it failed ---------------------------------------------------------------------

ERROR = {"message": "m", "type": "server_error", "param": None, "code": "overloaded"}
SAID_IN_BAND = {
    "OpenAI's": (sse({"error": ERROR}), ("m", "server_error", "overloaded")),
    "with an event name": (b"event: error\n" + sse({"error": ERROR}), ("m", "server_error", "overloaded")),
    "in an array": (b"data: [" + sse({"error": ERROR})[6:-2] + b"]\n\n", ("m", "server_error", "overloaded")),
    "OpenRouter's": (
        sse(
            {**delta("error", content=""), "error": {"code": 502, "message": "m", "metadata": {}}},
        ),
        ("m", "server_error", "upstream_error"),
    ),
    "within a choice": (
        sse({"choices": [{"index": 0, "delta": {}, "error": {"code": 429, "message": "m"}}]}),
        ("m", "rate_limit_error", "rate_limit_exceeded"),
    ),
    "LM Studio's": (sse({"error": "m"}), ("m", "server_error", "upstream_error")),
    "vLLM's of old": (
        sse({"object": "error", "message": "m", "type": "BadRequestError", "param": None, "code": 400}),
        ("m", "BadRequestError", None),
    ),
    "llama.cpp's of old": (
        b'error: {"code":500,"message":"m","type":"server_error"}\n\n',
        ("m", "server_error", "upstream_error"),
    ),
    "Groq's": (
        sse({"error": {"message": "m", "type": "invalid_request_error", "code": "tool_use_failed"}}),
        ("m", "invalid_request_error", "tool_use_failed"),
    ),
    "a plain text": (b"event: error\ndata: m\n\n", ("m", "server_error", "upstream_error")),
    "FastAPI's": (sse({"detail": "m"}), ("m", "server_error", "upstream_error")),
}


@pytest.mark.parametrize(("raw", "expected"), SAID_IN_BAND.values(), ids=SAID_IN_BAND)
async def test_c22_in_band_error_object_with_status_200(nursery, autojump_clock, raw, expected):
    answer, endings = await ask(nursery, *BEGUN, chunked(raw), LAST, stream=True)
    chunks, told = chunks_and_error(answer)
    assert chunks == HEL
    assert (told["message"], told["type"], told["code"]) == expected
    assert endings == {"failed": 1}


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource"])
async def test_c22_a_finish_reason_that_is_an_error(nursery, autojump_clock, reason):
    answer, endings = await ask(nursery, *stream(*HEL, finish(reason), DONE), stream=True)
    chunks, told = chunks_and_error(answer)
    assert chunks == HEL
    assert reason in told["message"]
    assert endings == {"failed": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": {"message": "m", "code": 429}}, 429),
        ({"error": "m"}, 502),
        ([{"error": {"message": "m", "status": "INVALID_ARGUMENT"}}], 400),
        ({"choices": [{"index": 0, "message": {"content": ""}, "error": {"message": "m", "code": 503}}]}, 503),
    ],
    ids=["an object", "a text", "an array", "within a choice"],
)
async def test_c22_an_error_in_a_whole_answer_with_status_200(nursery, autojump_clock, body, status):
    answer, endings = await ask(nursery, reply(body))
    assert answer.status == status
    assert answer.error["message"] == "m"
    assert endings == {"failed": 1}


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize("before", [[], [COMMENT], [chunked(sse(METADATA))]], ids=["at once", "comment", "metadata"])
async def test_c23_error_as_the_first_event(nursery, autojump_clock, before, wants_stream):
    failed = chunked(sse(error("too long", type="invalid_request_error", code="context_length_exceeded")))
    answer, endings = await ask(nursery, STREAM, *before, failed, LAST, stream=wants_stream)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == error("too long", type="invalid_request_error", code="context_length_exceeded")
    assert endings == {"failed": 1}


@pytest.mark.parametrize("before", [[], [COMMENT], [chunked(sse(METADATA))]], ids=["at once", "comment", "metadata"])
async def test_c23_after_an_error_as_the_first_event_fallback_is_possible(nursery, autojump_clock, before):
    up = Upstream(nursery, [STREAM, *before, chunked(sse(error("overloaded", code="server_is_overloaded")))])
    backup = Upstream(nursery, stream(*HEL, finish(), DONE))
    rig = Rig(nursery, up, ROUTE, backup=backup)
    answer = await rig.ask(model="safe/tiny", stream=True)
    assert payloads(answer.body) == [*HEL, finish(), DONE]
    assert answer.headers["x-penstock-provider"] == "backup"
    assert rig.gateway.ledger.endings == {"completed": 1}
    assert rig.gateway.ledger.failures == {("up", "failed"): 1}


async def test_c24_error_in_mid_stream_in_the_clients_dialect(nursery, autojump_clock):
    """The stream is ended at once: nothing that comes after the error is passed on, and the upstream is let go."""
    more = chunked(sse(text("more"), finish(), usage(), DONE))
    up = Upstream(nursery, [*BEGUN, chunked(sse(error("trouble", code="c"))), more, 3600])
    rig = Rig(nursery, up)
    answer = await rig.ask(stream=True, stream_options={"include_usage": True})
    assert answer.body.endswith(
        b'data: {"error":{"message":"trouble","type":"server_error","param":null,"code":"c"}}\n\n'
    )
    assert chunks_and_error(answer)[0] == HEL
    await up.all_closed()
    assert up.requests[0].closed_at == 0.0
    assert rig.gateway.ledger.failures == {("up", "failed"): 1}


async def test_c24_the_connection_serves_on_after_an_error_in_mid_stream(nursery, autojump_clock):
    up = Upstream(nursery, [*BEGUN, RESET], stream(*HEL, finish(), DONE))
    client = Rig(nursery, up).connect()
    await client.chat(stream=True)
    chunks_and_error(await client.answer())
    await client.chat(stream=True)
    assert (await client.answer()).text == "Hel"


async def test_c24_a_frame_that_is_no_json_fails_its_stream(nursery, autojump_clock):
    answer, endings = await ask(nursery, *BEGUN, chunked(b"data: {oops}\n\n"), *stream(DONE)[1:], stream=True)
    chunks, told = chunks_and_error(answer)
    assert chunks == HEL
    assert "no JSON" in told["message"]
    assert endings == {"failed": 1}


STATUSES = [(400, 400), (401, 401), (402, 402), (404, 404), (422, 422), (429, 429), (500, 500), (503, 503), (529, 503)]


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize(("status", "told"), STATUSES)
async def test_c25_upstream_error_statuses_pass_with_their_body(nursery, autojump_clock, status, told, wants_stream):
    said = error(f"because of {status}", type="some_type", code="some_code")
    script = reply(said, status, ("Retry-After", "7"), ("X-RateLimit-Remaining-Requests", "0"), ("Server", "up"))
    answer, endings = await ask(nursery, script, stream=wants_stream)
    assert answer.status == told
    assert answer.json == said
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert "server" not in answer.headers
    assert endings == {"failed": 1}


HTML = (
    "<!DOCTYPE html><html><head><title>502 Bad Gateway</title><style>h1 {}</style></head>"
    "<body><h1>Bad Gateway</h1><p>nginx &amp; friends</p></body></html>"
)
NOT_JSON = {
    "HTML": (HTML, "text/html", "502 Bad Gateway: Bad Gateway nginx & friends"),
    "plain text": ("upstream connect error: жжж\n", "text/plain", "upstream connect error: жжж"),
    "text that calls itself JSON": ("no healthy upstream", "application/json", "no healthy upstream"),
    "JSON that breaks off": ('{"error": {"mess', "application/json", '{"error": {"mess'),
    "bytes that are no UTF-8": (b"caf\xe9", "text/plain", "caf\ufffd"),
}


@pytest.mark.parametrize("wants_stream", [True, False])
@pytest.mark.parametrize(("body", "kind", "message"), NOT_JSON.values(), ids=NOT_JSON)
async def test_c26_error_bodies_that_are_no_json(nursery, autojump_clock, body, kind, message, wants_stream):
    answer, _ = await ask(nursery, reply(body, 502, content_type=kind), stream=wants_stream)
    assert answer.status == 502
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["message"] == message


async def test_c26_an_error_status_without_a_body(nursery, autojump_clock):
    answer, _ = await ask(nursery, reply("", 500), stream=True)
    assert answer.status == 500
    assert "500" in answer.error["message"]


async def test_c26_an_endless_error_body_is_cut(nursery, autojump_clock):
    async def pour(exchange):
        while True:
            await exchange.send(chunked(b"x" * 4096))

    up = Upstream(nursery, [head(500, ("Transfer-Encoding", "chunked")), pour])
    answer = await Rig(nursery, up).ask(stream=True)
    assert answer.status == 500
    assert answer.error["message"].startswith("xxx")
    await up.all_closed()
    assert up.requests[0].sent < 400_000


@pytest.mark.parametrize("status", [204, 301, 302, 304])
async def test_c25_a_status_that_is_neither_an_answer_nor_an_error(nursery, autojump_clock, status):
    answer, endings = await ask(nursery, head(status, ("Location", "http://elsewhere/"), ("Content-Length", "0")))
    assert answer.status == 502
    assert str(status) in answer.error["message"]
    assert endings == {"failed": 1}


# -- the gateway says no ----------------------------------------------------------------------------------

KEYS = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
REFUSED = {
    "no key": ({}, {}, 401, "invalid_api_key"),
    "a wrong key": ({"authorization": "Bearer nope"}, {}, 401, "invalid_api_key"),
    "an unknown model": (None, {"model": "nobody/has"}, 404, "model_not_found"),
    "no messages": (None, {"messages": []}, 400, "invalid_value"),
    "a wrong type": (None, {"stream": "yes"}, 400, "invalid_value"),
    "a wrong content type": ({"content-type": "multipart/form-data"}, {}, 415, "unsupported_media_type"),
    "wrong deadlines": ({"x-penstock-timeouts": "never=1"}, {}, 400, "invalid_value"),
    "a foreign host": ({"host": "evil.example"}, {}, 403, "permission_denied"),
}


@pytest.mark.parametrize(("headers", "body", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_c27_our_own_refusals_are_not_translated(nursery, autojump_clock, headers, body, status, code):
    """They call no model, so no upstream sees them, and they are nobody's failure."""
    up = Upstream(nursery)
    toml, environ = (KEYS, {"CI": "the-key"}) if status == 401 else ("", {})
    rig = Rig(nursery, up, toml, environ)
    answer = await rig.ask(headers=headers or {}, **body)
    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.error["type"] in ("invalid_request_error", "permission_error")
    assert "x-penstock-provider" not in answer.headers
    assert not up.requests
    assert not rig.gateway.ledger.endings
    assert not rig.gateway.ledger.failures


async def test_c27_a_refusal_for_want_of_a_slot_is_counted_once(nursery, autojump_clock):
    up = Upstream(nursery, [*BEGUN, 10, chunked(sse(finish(), DONE)) + LAST])
    rig = Rig(nursery, up, '[providers.up]\npreset = "openai"\nparallel = 1\n')
    first = rig.connect()
    await first.chat(stream=True)
    await first.head()
    answer = await rig.ask(stream=True)
    assert answer.status == 429
    assert answer.error["type"] == "rate_limit_error"
    assert rig.gateway.ledger.endings == {"failed": 1}
    while await first.piece():
        pass
    assert rig.gateway.ledger.endings == {"failed": 1, "completed": 1}
    assert len(up.requests) == 1


# -- one ending -------------------------------------------------------------------------------------------

END = [finish(), usage()]
ENDS = {
    "the marker": [*HEL, *END, DONE],
    "the marker twice": [*HEL, *END, DONE, DONE],
    "a marker for each choice": [*HEL, role(1), text("b", 1), finish(), DONE, finish("stop", 1), DONE],
    "text after the end": [*HEL, *END, DONE, text("more")],
    "an error after the end": [*HEL, *END, DONE, error()],
    "no marker": [*HEL, *END],
    "finish reasons twice": [*HEL, finish(), finish(), DONE],
}


@pytest.mark.parametrize("apart", [True, False], ids=["piece by piece", "in one piece"])
@pytest.mark.parametrize("said", ENDS.values(), ids=ENDS)
async def test_c28_exactly_one_terminal_event(nursery, autojump_clock, said, apart):
    script = stream(*said) if apart else [STREAM + chunked(sse(*said)) + LAST]
    answer, endings = await ask(nursery, *script, stream=True, stream_options={"include_usage": True})
    events = payloads(answer.body)
    assert events[-1] == DONE
    assert events.count(DONE) == 1
    assert not any("error" in event for event in events[:-1])
    reasons = [choice["finish_reason"] for event in events[:-1] for choice in event["choices"]]
    assert reasons.count("stop") <= 1
    assert endings == {"completed": 1}


async def test_c28_the_client_is_ended_at_the_marker_and_not_at_the_upstreams_close(nursery, autojump_clock):
    script = [STREAM, 1, chunked(sse(*HEL, *END, DONE)), 3600, LAST]
    up = Upstream(nursery, script)
    rig = Rig(nursery, up)
    answer = await rig.ask(stream=True)
    assert [at for at, _ in answer.pieces] == [1.0] * len(answer.pieces)
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_c28_the_end_marker_comes_in_one_write_with_the_last_events(nursery, autojump_clock):
    """Clients close at the marker: what is written later would be written to nobody."""
    script = [*BEGUN, chunked(sse(finish(), usage())), chunked(sse(DONE)) + LAST]
    client = Rig(nursery, Upstream(nursery, script)).connect()
    await client.chat(stream=True)
    seen = b""
    while b"[DONE]" not in seen:
        seen += await client.stream.receive()
    assert seen.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_c28_with_keepalives_there_is_one_end_too(nursery, autojump_clock):
    script = [STREAM, 3.5, chunked(sse(*HEL)), 3, chunked(sse(*END)), 3, chunked(sse(DONE)) + LAST]
    toml = "[timeouts]\nkeepalive = 1\n"
    answer, endings = await ask(nursery, *script, toml=toml, stream=True, stream_options={"include_usage": True})
    assert answer.body.count(b": keep-alive\n\n") >= 6
    assert answer.events == [*HEL, *END, DONE]
    assert endings == {"completed": 1}


async def test_c28_with_keepalives_an_early_error_is_told_in_band(nursery, autojump_clock):
    script = [3.5, reply(error("late"), 500)]
    answer, endings = await ask(nursery, *script, toml="[timeouts]\nkeepalive = 1\n", stream=True)
    assert answer.status == 200
    assert answer.events == [error("late", code="upstream_error")]
    assert b"[DONE]" not in answer.body
    assert endings == {"failed": 1}
