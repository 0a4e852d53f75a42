"""POST /v1/audio/transcriptions and /translations: forms in any order, kept while they come, sent from the disk."""

import base64
import gc
import gzip
import hashlib
import json
import tracemalloc
import zlib

import pytest
import trio

import answers
from answers import chunked, reply, sse
from forms import CONTENT_TYPE, field, file, form
from penstock.protocol.chat import Ending
from penstock.providers.memory import memory_pair
from penstock.server import spool
from penstock.server.store.key_rows import Terms
from rig import Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, RESET, Upstream

PATH = "/v1/audio/transcriptions"
TOLD = {"text": "Привет", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 4, "total_tokens": 18}}
MODEL = field("model", "up/tiny")
AUDIO = file(b"RIFF\x00\r\n--\xff", 'a \\"b\\" %22 запись.wav')


async def upload(rig, body, headers=(), path=PATH, client=None):
    client = client or rig.connect()
    await client.request("POST", path, {"content-type": CONTENT_TYPE, **dict(headers)}, body)
    return await client.answer()


@pytest.fixture
def spools(monkeypatch):
    """All spools that are made."""
    made = []

    class Watched(spool.Spool):
        def __init__(self, memory):
            super().__init__(memory)
            made.append(self)

    monkeypatch.setattr("penstock.server.upload.Spool", Watched)
    return made


@pytest.mark.parametrize(
    "parts", [(AUDIO, MODEL), (MODEL, AUDIO), (field("language", "ru"), AUDIO, MODEL, field("prompt", ""))]
)
@pytest.mark.parametrize("path", [PATH, "/v1/audio/translations"])
async def test_the_form_goes_out_as_it_came_but_for_the_model(nursery, parts, path, spools):
    upstream = Upstream(nursery, [reply(TOLD)])
    rig = Rig(nursery, upstream)
    body = form(*parts)
    answer = await upload(rig, body, {"authorization": "Bearer sk-client"}, path)
    assert (answer.status, answer.json) == (200, TOLD)
    asked = await upstream.request()
    assert asked.target == path
    assert asked.headers["content-type"] == CONTENT_TYPE
    assert asked.body == body.replace(b"up/tiny", b"tiny")
    assert "authorization" not in asked.headers
    assert [one.closed for one in spools] == [True]
    assert rig.gateway.uploads == 0


@pytest.mark.parametrize(
    ("kind", "content_type", "said"),
    [
        ("json", "application/json", '{"text":"hi"}'),
        ("text", "text/plain; charset=utf-8", "hi\n"),
        ("text", "text/plain; charset=utf-8", ""),
        ("srt", "text/plain; charset=utf-8", "1\n00:00:00,000 --> 00:00:01,500\nhello\n\n"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nПривет\n\n"),
        ("verbose_json", "application/json", '{"task":"transcribe","duration":1.50,"text":"hi","segments":[]}'),
    ],
)
@pytest.mark.parametrize("typed", [True, False])
async def test_every_form_of_a_transcript_is_passed_with_its_type(nursery, kind, content_type, said, typed):
    raw = said.encode()
    head = [("Content-Length", str(len(raw)))] + [("Content-Type", content_type)] * typed
    rig = Rig(nursery, Upstream(nursery, [answers.head(200, *head) + raw]))
    answer = await upload(rig, form(AUDIO, MODEL, field("response_format", kind)))
    assert (answer.status, answer.body) == (200, raw)
    if typed or kind != "vtt":
        assert answer.headers["content-type"] == content_type


@pytest.mark.parametrize("usage", [{"type": "duration", "seconds": 2}, TOLD["usage"]])
async def test_usage_is_booked_where_tokens_are_counted(nursery, usage):
    rig = Rig(nursery, Upstream(nursery, [reply({**TOLD, "usage": usage})]))
    seen = []
    rig.gateway.ledger.readers.append(seen.append)
    await upload(rig, form(AUDIO, MODEL))
    assert (seen[0].usage and seen[0].usage.total) == (18 if usage["type"] == "tokens" else None)


CHUNKED = (
    f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {CONTENT_TYPE}\r\ntransfer-encoding: chunked\r\n\r\n"
).encode()

# -- C79


class Sink:
    """An upstream that keeps of a request what fits on a page: its head, and length and digest of its body."""

    def __init__(self, nursery, *answered):
        self.nursery, self.answered = nursery, list(answered)
        self.seen = []

    async def connect(self):
        ours, theirs = memory_pair()
        self.nursery.start_soon(self._serve, ours)
        return theirs

    async def _serve(self, stream):
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, data = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        digest, size = hashlib.sha256(data), len(data)
        while size < length:
            data = await stream.receive()
            digest.update(data)
            size += len(data)
        self.seen.append((size, digest.hexdigest()))
        await stream.send_all(self.answered.pop(0))


PIECE = bytes(range(256)) * 1024
FILE = 25 << 20


@pytest.mark.parametrize("order", ["file first", "file last"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
async def test_c79_a_large_recording_passes_in_bounded_memory(nursery, order, framing, spools):
    before, _, after = form(*([file(b"@"), MODEL] if order == "file first" else [MODEL, file(b"@")])).partition(b"@")
    wanted = hashlib.sha256(before.replace(b"up/tiny", b"tiny"))
    sink = Sink(nursery, reply(TOLD))
    client = Rig(nursery, sink.connect).connect()
    size = len(before) + FILE + len(after)
    coding = f"content-length: {size}" if framing == "sized" else "transfer-encoding: chunked"
    head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {CONTENT_TYPE}\r\n{coding}\r\n\r\n".encode()
    wrap = chunked if framing == "chunked" else bytes
    client.expect()
    gc.collect()
    tracemalloc.start()
    await client.raw(head + wrap(before))
    for _ in range(FILE // len(PIECE)):
        await client.raw(wrap(PIECE))
        wanted.update(PIECE)
    await client.raw(wrap(after) + (answers.LAST if framing == "chunked" else b""))
    answer = await client.answer()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    wanted.update(after.replace(b"up/tiny", b"tiny"))
    assert (answer.status, answer.json) == (200, TOLD)
    assert sink.seen == [(size - len("up/"), wanted.hexdigest())]
    assert peak < 6 << 20
    assert [one.closed for one in spools] == [True]


async def test_a_second_upstream_is_sent_the_same_from_the_spool(nursery):
    body = form(MODEL, file(PIECE * 12))
    first, second = Sink(nursery, reply({"error": "busy"}, 503)), Sink(nursery, reply(TOLD))
    rig = Rig(nursery, first.connect, '[routes.safe]\nproviders = ["up", "other"]\n', other=second.connect)
    answer = await upload(rig, body.replace(b"up/tiny", b"safe/tiny"))
    assert (answer.status, answer.headers["x-penstock-attempts"]) == (200, "2")
    wanted = body.replace(b"up/tiny", b"tiny")
    assert first.seen == second.seen == [(len(wanted), hashlib.sha256(wanted).hexdigest())]


# -- leaving


@pytest.mark.parametrize("size", [100, 3 << 20])
async def test_c04_leaving_during_the_upload_leaves_nothing(nursery, size, spools):
    upstream = Upstream(nursery)
    rig = Rig(nursery, upstream)
    client = rig.connect()
    head = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {CONTENT_TYPE}\r\ncontent-length: 9999999\r\n\r\n"
    await client.raw(head.encode() + form(MODEL, file(bytes(size)))[:-40])
    await settled()
    assert rig.gateway.uploads == 1
    client.leave()
    while rig.gateway.connections:
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(int)
    assert [one.closed for one in spools] == [True]
    assert (rig.gateway.uploads, rig.gateway.admitted, upstream.connections) == (0, 0, 0)


async def test_c04_leaving_while_it_is_sent_on_closes_the_upstream(nursery, spools):
    ours = []

    async def connect():
        near, far = memory_pair()
        ours.append(far)
        return near

    rig = Rig(nursery, connect)
    client = rig.connect()
    await client.request("POST", PATH, {"content-type": CONTENT_TYPE}, form(MODEL, file(bytes(3 << 20))))
    while not ours or ours[0]._in.data == b"":
        await trio.to_thread.run_sync(int)
    client.leave()
    while rig.gateway.connections:
        await trio.to_thread.run_sync(int)
    assert ours[0]._in.ended or ours[0]._in.broken
    assert rig.gateway.ledger.endings == {"client_gone": 1}
    assert [one.closed for one in spools] == [True]


async def test_c04_leaving_while_it_is_transcribed(nursery, autojump_clock, spools):
    upstream = Upstream(nursery, [EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    await client.request("POST", PATH, {"content-type": CONTENT_TYPE}, form(MODEL, AUDIO))
    asked = await upstream.request()
    await settled()
    left = trio.current_time()
    client.leave()
    await asked.closed.wait()
    assert asked.closed_at == left
    await settled()
    assert [one.closed for one in spools] == [True]


# -- what is refused


@pytest.mark.parametrize(
    ("body", "content_type", "status", "word"),
    [
        (form(AUDIO), CONTENT_TYPE, 400, "model"),
        (form(AUDIO, field("model", " ")), CONTENT_TYPE, 400, "model"),
        (form(MODEL, AUDIO, field("model", "up/other")), CONTENT_TYPE, 400, "occurs twice"),
        (form(MODEL, AUDIO)[:-9], CONTENT_TYPE, 400, "last delimiter"),
        (b"", CONTENT_TYPE, 400, "last delimiter"),
        (form(MODEL, AUDIO), "multipart/form-data", 400, "boundary"),
        (form(MODEL, AUDIO), f"{CONTENT_TYPE}; boundary*0=x", 400, "boundary"),
        (form(file(b"up/tiny", "m", "model"), AUDIO), CONTENT_TYPE, 400, "is a file"),
        (form(MODEL, AUDIO), "text/plain", 415, "multipart"),
        (form(field("model", "x" * 70000), AUDIO), CONTENT_TYPE, 400, "more than"),
        (form(field("model", "nobody/tiny"), AUDIO), CONTENT_TYPE, 404, "nobody"),
    ],
)
async def test_what_is_no_upload(nursery, body, content_type, status, word, spools):
    headers = {"content-type": content_type, "content-length": str(len(body))}
    answer = await upload(Rig(nursery, Upstream(nursery)), body, headers)
    assert (answer.status, word in answer.error["message"]) == (status, True)
    assert all(one.closed for one in spools)


async def test_c82_no_reader_finds_another_model_than_the_one_that_was_judged(nursery):
    upstream = Upstream(nursery, always=[reply(TOLD)])
    rig = Rig(nursery, upstream)
    smuggled = field("x", "dear").replace(b'name="x"', b'name="x"; name*0="model"')
    assert (await upload(rig, form(MODEL, smuggled, AUDIO))).status == 400
    assert (await upload(rig, form(MODEL, AUDIO), {"content-type": f"{CONTENT_TYPE}; charset=utf-7"})).status == 400
    assert not upstream.requests
    assert (await upload(rig, form(MODEL, AUDIO), {"content-type": f"{CONTENT_TYPE} ;Charset=UTF-8"})).status == 200
    assert upstream.requests[0].headers["content-type"] == CONTENT_TYPE


async def test_c08_a_key_is_judged_by_the_model_in_the_form(nursery):
    toml = '[[keys]]\nname = "ci"\nkey = { env = "K" }\nmodels = ["other/*"]\n'
    other = Upstream(nursery, [reply(TOLD)])
    rig = Rig(nursery, Upstream(nursery), toml, {"K": "sk-ci"}, other=other)
    shown = {"authorization": "Bearer sk-ci"}
    assert (await upload(rig, form(AUDIO, MODEL), shown)).status == 403
    assert (await upload(rig, form(AUDIO, field("model", "other/tiny")), shown)).status == 200


async def test_compressed_uploads_are_not_taken(nursery):
    answer = await upload(Rig(nursery, Upstream(nursery)), gzip.compress(b"x"), {"content-encoding": "gzip"})
    assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("framing", ["sized", "chunked"])
async def test_an_upload_has_a_limit(nursery, framing):
    rig = Rig(nursery, Upstream(nursery), "[limits]\nupload_bytes = 1000\n")
    body = form(MODEL, file(bytes(1000)))
    if framing == "sized":
        answer = await upload(rig, body)
    else:
        client = rig.connect()
        client.expect()
        await client.raw(CHUNKED + chunked(body) + answers.LAST)
        answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


async def test_the_number_of_uploads_has_a_limit(nursery):
    rig = Rig(nursery, Upstream(nursery, [EXPECT_CLOSE]), "[limits]\nuploads = 1\n")
    first = rig.connect()
    await first.request("POST", PATH, {"content-type": CONTENT_TYPE}, form(MODEL, AUDIO))
    await settled()
    answer = await upload(rig, form(MODEL, AUDIO))
    assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")
    first.leave()


async def test_a_full_disk_is_not_the_clients_fault(nursery, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_write", full)
    answer = await upload(Rig(nursery, Upstream(nursery)), form(MODEL, file(bytes(2 << 20))))
    assert answer.status == 503
    assert "room" in answer.error["message"]


async def test_a_client_that_stops_sending_is_told(nursery, autojump_clock):
    client = Rig(nursery, Upstream(nursery)).connect()
    await client.request("POST", PATH, {"content-type": CONTENT_TYPE, "content-length": "999"}, form(MODEL)[:20])
    answer = await client.answer()
    assert (answer.status, trio.current_time()) == (408, 30)


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("kind", [CONTENT_TYPE, "application/json"])
async def test_a_body_that_trickles_in_has_a_time_too(nursery, autojump_clock, framing, kind):
    rig = Rig(nursery, Upstream(nursery), "[timeouts]\nbody_total = 100\n")
    client = rig.connect()
    coding = {"content-length": "999"} if framing == "sized" else {"transfer-encoding": "chunked"}
    await client.request("POST", PATH, {"content-type": kind, **coding})
    for byte in form(MODEL)[:5]:
        await trio.sleep(18)
        piece = bytes([byte])
        await client.raw(chunked(piece) if framing == "chunked" else piece)
    answer = await client.answer()
    assert (answer.status, trio.current_time(), "100 s" in answer.error["message"]) == (408, 100, True)
    assert (rig.gateway.uploads, rig.gateway.admitted) == (0, 0)


async def test_c08_a_key_holds_its_own_place_while_its_upload_comes(nursery, tmp_path):
    upstream = Upstream(nursery, always=[reply(TOLD)])
    rig = await Rig.stored(nursery, tmp_path / "store.db", upstream)
    terms = Terms(parallel=1, requests_per_minute=3)
    _, secret = await rig.gateway.store.keys.create("ci", terms)
    shown = {"authorization": f"Bearer {secret}"}
    body, first = form(MODEL, AUDIO), rig.connect()
    head = {"content-type": CONTENT_TYPE, "content-length": str(len(body)), **shown}
    for _ in range(2):
        await first.request("POST", PATH, head, b"")
        await first.raw(body[:20])
        await settled()
        refused = await upload(rig, b"", {**shown, "content-length": "999"})
        assert (refused.status, rig.gateway.uploads) == (429, 1)
        await first.raw(body[20:])
        assert (await first.answer()).status == 200
    assert len(upstream.requests) == 2
    first = rig.connect()
    await first.request("POST", PATH, head, b"")
    first.leave()
    await settled()
    answer = await upload(rig, body, shown)
    assert (answer.status, answer.headers["x-ratelimit-remaining-requests"]) == (200, "0")


async def test_another_request_may_follow_on_the_connection(nursery):
    rig = Rig(nursery, Upstream(nursery, always=[reply(TOLD)]))
    client = rig.connect()
    for _ in range(3):
        assert (await upload(rig, form(MODEL, AUDIO), client=client)).status == 200
    whole = form(AUDIO, MODEL)
    client.expect()
    await client.raw((CHUNKED + chunked(whole[:50]) + chunked(whole[50:]) + answers.LAST) * 2)
    assert (await client.answer()).status == 200
    client.expect()
    assert (await client.answer()).status == 200


async def test_expect_100_continue_is_answered(nursery):
    client = Rig(nursery, Upstream(nursery, [reply(TOLD)])).connect()
    body = form(MODEL, AUDIO)
    headers = {"content-type": CONTENT_TYPE, "expect": "100-continue", "content-length": str(len(body))}
    await client.request("POST", PATH, headers)
    await settled()
    assert client.stream.receive_now() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.raw(body)
    assert (await client.answer()).status == 200


# -- streams

DELTA = {"type": "transcript.text.delta", "delta": "Прив"}
DONE = {"type": "transcript.text.done", "text": "Привет", "usage": TOLD["usage"]}


async def test_a_streamed_transcript_is_passed_event_by_event_and_its_end_counts(nursery):
    go = trio.Event()
    upstream = Upstream(nursery, [answers.STREAM, chunked(sse(DELTA)), go, chunked(sse(DONE)), answers.LAST])
    rig = Rig(nursery, upstream)
    seen = []
    rig.gateway.ledger.readers.append(seen.append)
    client = rig.connect()
    await client.request("POST", PATH, {"content-type": CONTENT_TYPE}, form(AUDIO, MODEL, field("stream", "True")))
    assert dict((await client.head()).headers)[b"content-type"] == b"text/event-stream"
    assert await client.piece() == sse(DELTA)
    go.set()
    assert await client.piece() + await client.piece() == sse(DONE)
    await settled()
    assert (seen[0].ending, seen[0].usage.total) == (Ending("completed"), 18)


@pytest.mark.parametrize("end", [answers.LAST, CLOSE, RESET])
async def test_a_streamed_transcript_without_its_end_is_truncated_and_says_so(nursery, end):
    rig = Rig(nursery, Upstream(nursery, [answers.STREAM, chunked(sse(DELTA)), end]))
    answer = await upload(rig, form(AUDIO, MODEL, field("stream", "true")))
    assert (answer.events[0], answer.events[1]["error"]["code"]) == (DELTA, "upstream_error")
    assert rig.gateway.ledger.endings == {"truncated": 1}


async def test_a_model_that_does_not_stream_answers_in_one_piece(nursery):
    answer = await upload(Rig(nursery, Upstream(nursery, [reply(TOLD)])), form(AUDIO, MODEL, field("stream", "true")))
    assert (answer.headers["content-type"], answer.json) == ("application/json", TOLD)


async def test_c46_a_compressed_transcript_stream_is_unpacked_event_by_event(nursery):
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(sse(one)) + packer.flush(zlib.Z_SYNC_FLUSH) for one in (DELTA, DONE)]
    head = answers.head(
        200, ("Content-Type", "text/event-stream"), ("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")
    )
    go = trio.Event()
    upstream = Upstream(nursery, [head, chunked(pieces[0]), go, chunked(pieces[1] + packer.flush()) + answers.LAST])
    client = Rig(nursery, upstream).connect()
    await client.request("POST", PATH, {"content-type": CONTENT_TYPE}, form(AUDIO, MODEL, field("stream", "true")))
    head = dict((await client.head()).headers)
    assert b"content-encoding" not in head
    assert await client.piece() == sse(DELTA)
    go.set()
    assert await client.piece() + await client.piece() == sse(DONE)


# -- JSON, as Open WebUI can be set to send it


def parts_of(asked):
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    return [part.strip(b"\r\n").partition(b"\r\n\r\n") for part in asked.body.split(b"--" + boundary)[1:-1]]


@pytest.mark.parametrize("escaped", [b"/", b"\\/", b"\\u002F"])
async def test_json_with_the_file_in_base64_becomes_a_form(nursery, escaped):
    audio = bytes(range(256)) * 700
    data = base64.b64encode(audio).decode()
    said = {"language": "ru", "temperature": 0.5, "prompt": None, "input_audio": {"data": data, "format": "mp3"}}
    raw = json.dumps(
        {**said, "model": "up/tiny", "timestamp_granularities": ["word", "segment"], "odd name": 1}
    ).encode()
    raw = raw.replace(b"/", escaped)
    upstream = Upstream(nursery, [reply(TOLD)])
    answer = await upload(Rig(nursery, upstream), raw, {"content-type": "application/json"})
    assert (answer.status, answer.json) == (200, TOLD)
    found = [(head.decode().partition('name="')[2], value) for head, _, value in parts_of(await upstream.request())]
    assert found == [
        ('language"', b"ru"),
        ('temperature"', b"0.5"),
        ('model"', b"tiny"),
        ('timestamp_granularities[]"', b"word"),
        ('timestamp_granularities[]"', b"segment"),
        ('file"; filename="audio.mp3"', audio),
    ]


async def test_a_data_url_is_taken_too(nursery):
    upstream = Upstream(nursery, [reply(TOLD)])
    body = {"model": "up/tiny", "input_audio": {"data": "data:audio/wav;base64,UklGRg=="}}
    await upload(Rig(nursery, upstream), json.dumps(body).encode(), {"content-type": "application/json"})
    assert parts_of(await upstream.request())[-1][2] == b"RIFF"


@pytest.mark.parametrize(
    "audio",
    [None, "x", {}, {"data": 7}, {"data": "****"}, {"data": "AA\\u0041A\n"}, {"data": "AAAA", "format": "../x"}],
)
async def test_json_without_audio(nursery, audio):
    body = json.dumps({"model": "up/tiny", "input_audio": audio}).encode()
    answer = await upload(Rig(nursery, Upstream(nursery)), body, {"content-type": "application/json"})
    assert (answer.status, answer.error["param"]) == (400, "input_audio")


async def test_where_nobody_transcribes_a_404_says_what_to_set(nursery, spools):
    rig = Rig(nursery, Upstream(nursery), '[providers.up]\npreset = "ollama"\nmodels = ["tiny"]\n')
    answer = await upload(rig, form(AUDIO, MODEL))
    assert (answer.status, answer.error["code"]) == (404, "unsupported_endpoint")
    assert "'transcriptions'" in answer.error["message"]
    assert [one.closed for one in spools] == [True]


async def test_images_take_no_json_form(nursery):
    answer = await upload(
        Rig(nursery, Upstream(nursery)), b"{}", {"content-type": "application/json"}, "/v1/images/edits"
    )
    assert answer.status == 415
