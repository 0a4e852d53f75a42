"""POST /v1/audio/speech: bytes as they are made, or events."""

import json

import pytest
import trio

import answers
from answers import LAST, chunked, reply, sse
from penstock.protocol.chat import Ending
from rig import Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, RESET, Upstream, forever

PATH = "/v1/audio/speech"
ASKED = {"model": "up/tiny", "input": "Привет", "voice": {"id": "v1"}, "speed": 1.0}
MP3 = answers.head(200, ("Content-Type", "audio/mpeg"), ("Transfer-Encoding", "chunked"))
SOUND = [b"\xff\xfb\x90\x00", b"\r\n\r\ndata: [DONE]\n\n", b"\x00" * 500]


async def ask(rig, client=None, **more):
    client = client or rig.connect()
    await client.request("POST", PATH, {"content-type": "application/json"}, json.dumps({**ASKED, **more}).encode())
    return client


async def spoken(rig, **more):
    return await (await ask(rig, **more)).answer()


async def test_bytes_go_out_as_they_come(nursery):
    go = trio.Event()
    upstream = Upstream(nursery, [MP3, chunked(SOUND[0]), go, chunked(SOUND[1]), chunked(SOUND[2]) + LAST])
    rig = Rig(nursery, upstream)
    client = await ask(rig, response_format="mp3")
    head = dict((await client.head()).headers)
    assert (head[b"content-type"], head[b"transfer-encoding"]) == (b"audio/mpeg", b"chunked")
    assert await client.piece() == SOUND[0]
    go.set()
    assert await client.piece() == SOUND[1]
    assert await client.piece() + await client.piece() == SOUND[2]
    asked = await upstream.request()
    assert (asked.target, asked.json) == (PATH, {**ASKED, "model": "tiny", "response_format": "mp3"})
    await settled()
    assert rig.gateway.ledger.endings == {"completed": 1}


@pytest.mark.parametrize(
    ("wanted", "said", "content_type"),
    [
        ("opus", "audio/opus", "audio/opus"),
        ("opus", None, "audio/ogg"),
        ("pcm", None, "audio/pcm"),
        (None, None, "audio/mpeg"),
        (7, None, "audio/mpeg"),
        ("wav", "application/octet-stream", "application/octet-stream"),
    ],
)
async def test_c47_the_type_is_the_upstreams_and_its_length_is_not_told(nursery, wanted, said, content_type):
    head = answers.head(200, ("Content-Length", "4"), *([("Content-Type", said)] if said else []))
    answer = await spoken(Rig(nursery, Upstream(nursery, [head + SOUND[0]])), response_format=wanted)
    assert (answer.headers["content-type"], answer.body) == (content_type, SOUND[0])
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_sound_that_breaks_off_is_broken_off(nursery, end):
    rig = Rig(nursery, Upstream(nursery, [MP3, chunked(SOUND[0]), end]))
    client = await ask(rig)
    raw = b""
    while data := await client.stream.receive():
        raw += data
    assert raw.endswith(chunked(SOUND[0]))  # and no last chunk: nobody can take this for the end
    assert rig.gateway.ledger.endings == {"truncated": 1}


async def test_sound_that_stalls_is_broken_off_in_time(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [MP3, chunked(SOUND[0]), EXPECT_CLOSE]))
    client = await ask(rig)
    raw = b""
    while data := await client.stream.receive():
        raw += data
    assert raw.endswith(chunked(SOUND[0]))
    assert rig.gateway.ledger.endings == {"timed_out(idle)": 1}


@pytest.mark.parametrize("script", [[RESET], [reply({"error": "busy"}, 503)], [MP3 + LAST], [MP3, CLOSE]])
async def test_before_the_first_byte_another_is_asked(nursery, script):
    other = Upstream(nursery, [reply(SOUND[0], content_type="audio/mpeg")])
    rig = Rig(nursery, Upstream(nursery, script), '[routes.safe]\nproviders = ["up", "other"]\n', other=other)
    answer = await spoken(rig, model="safe/tiny")
    assert (answer.status, answer.body, answer.headers["x-penstock-attempts"]) == (200, SOUND[0], "2")


async def test_an_error_is_json_with_its_status(nursery):
    told = reply({"error": {"message": "no such voice", "type": "invalid_request_error", "code": "voice"}}, 400)
    answer = await spoken(Rig(nursery, Upstream(nursery, [told])))
    assert (answer.status, answer.error["message"]) == (400, "no such voice")


@pytest.mark.parametrize("missing", ["model", "input"])
async def test_what_is_missing_is_named(nursery, missing):
    answer = await spoken(Rig(nursery, Upstream(nursery)), **{missing: None})
    assert (answer.status, answer.error["param"]) == (400, missing)


# -- events

DELTA = {"type": "speech.audio.delta", "audio": "AAAA"}
DONE = {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}}


async def test_events_are_passed_and_usage_is_booked(nursery):
    upstream = Upstream(nursery, [answers.STREAM, chunked(sse(DELTA)), chunked(sse(DONE)) + LAST])
    rig = Rig(nursery, upstream)
    seen = []
    rig.gateway.ledger.readers.append(seen.append)
    answer = await spoken(rig, stream_format="sse")
    assert (answer.headers["content-type"], answer.body) == ("text/event-stream", sse(DELTA, DONE))
    await settled()
    assert (seen[0].ending, seen[0].usage.completion) == (Ending("completed"), 101)


@pytest.mark.parametrize("end", [[chunked(sse({"type": "error", "error": {"message": "busy"}}))], [CLOSE]])
async def test_events_that_fail_say_so(nursery, end):
    answer = await spoken(
        Rig(nursery, Upstream(nursery, [answers.STREAM, chunked(sse(DELTA)), *end])), stream_format="sse"
    )
    assert answer.events[0] == DELTA
    assert answer.events[1]["error"]["message"]


# -- leaving, and slow clients


@pytest.mark.parametrize("script", [[], [MP3], [MP3, chunked(SOUND[0])], [MP3, chunked(SOUND[0])[:-3]]])
async def test_c04_leaving_closes_the_upstream_at_once(nursery, autojump_clock, script):
    upstream = Upstream(nursery, [*script, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = await ask(rig)
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.stream.receive_now()
    client.leave()
    await asked.closed.wait()
    assert asked.closed_at == left
    await settled()
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert not rig.gateway.ledger.failures


async def test_a_slow_listener_slows_the_upstream_and_is_let_go(nursery, autojump_clock):
    upstream = Upstream(nursery, [MP3, forever(chunked(bytes(8192)))])
    rig = Rig(nursery, upstream)
    client = await ask(rig)
    asked = await upstream.request()
    await asked.closed.wait()
    assert asked.closed_at == 30
    assert asked.sent < 1 << 20
    assert rig.gateway.ledger.endings == {"timed_out(write)": 1}
    client.leave()
