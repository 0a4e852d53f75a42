"""The embedded upstream, spoken to as a transport would: HTTP over the other end of its connection."""

from __future__ import annotations

import json
import resource
from typing import Any, NamedTuple

import h11
import pytest
import trio
import trio.testing

from penstock.providers.echo import Echo
from penstock.providers.echo_answer import NOTHING_TO_SAY, tokens
from penstock.providers.memory import MemoryStream, memory_pair
from penstock.providers.stream import ByteStream, StreamBroken
from penstock.providers.transport import UpstreamError

TEXTS = [
    "Hello, how are you today?",
    "Привет, как дела? Съешь ещё этих мягких французских булок.",
    "আমি বাংলায় গান গাই। ক্ষুধা, বিশ্বাস, জ্যোৎস্না।",
    "family: 👨‍👩‍👧‍👦 thumbs: 👍🏽👍🏿 flag: 🇧🇩 heart: ❤️‍🔥",
    "日本語のテキストと\n\n改行  two  spaces\ttab",
    "line\u2028separator\u2029\u0085 and \x0b\x0c\x1c",
    "e" + "\u0301" * 100,
    " ",
    "x",
]


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    pieces: list[bytes]
    broke_off: bool
    """Whether the connection ended before the answer did."""

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def json(self) -> Any:
        return json.loads(self.body)

    def chunks(self) -> list[Any]:
        """The JSON of the events; their end marker is checked here."""
        events = self.body.decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


class Asker:
    """A client on one connection."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def ask(self, method: str, target: str, body: bytes = b"") -> Reply:
        await self.send(method, target, body)
        return await self.reply()

    async def send(self, method: str, target: str, body: bytes = b"") -> None:
        if self.http.our_state is not h11.IDLE:
            self.http.start_next_cycle()
        headers = [("host", "echo"), ("content-length", str(len(body)))]
        data = self.http.send(h11.Request(method=method, target=target, headers=headers))
        data += self.http.send(h11.Data(data=body)) + self.http.send(h11.EndOfMessage())
        await self.stream.send_all(data)

    async def reply(self) -> Reply:
        pieces: list[bytes] = []
        status, headers = 0, {}
        while True:
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError:
                return Reply(status, headers, pieces, True)
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive())
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return Reply(status, headers, pieces, False)

    async def hear(self) -> bytes:
        """All that the upstream says by itself."""
        await trio.testing.wait_all_tasks_blocked()
        return self.stream.receive_now() or b""

    async def chat(self, text: object = "Hello there", /, **more: object) -> Reply:
        request = {"model": "echo", "messages": [{"role": "user", "content": text}], **more}
        return await self.ask("POST", "/v1/chat/completions", json.dumps(request).encode())


@pytest.fixture
def far() -> list[MemoryStream]:
    """The upstream's ends of the connections that were made."""
    return []


@pytest.fixture
async def asker(nursery: trio.Nursery, far: list[MemoryStream]) -> Asker:
    near, other = memory_pair()
    far.append(other)
    nursery.start_soon(Echo(nursery, clock=lambda: 1760000000.9).serve, other)
    return Asker(near)


def said(chunks: list[Any], kind: str = "content") -> str:
    return "".join(chunk["choices"][0]["delta"].get(kind) or "" for chunk in chunks if chunk["choices"])


# -- what it says -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
async def test_a_stream_says_exactly_the_last_user_message(asker: Asker, text: str) -> None:
    reply = await asker.chat(text, stream=True)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream"
    chunks = reply.chunks()
    assert said(chunks) == text
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["created"] == 1760000000


@pytest.mark.parametrize("text", TEXTS)
async def test_an_answer_in_one_piece_says_the_same(asker: Asker, text: str) -> None:
    reply = await asker.chat(text)
    assert reply.headers["content-type"] == "application/json"
    choice = reply.json()["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert reply.json()["usage"]["completion_tokens"] == len(list(tokens(text)))


async def test_the_last_message_of_the_user_is_echoed_and_parts_are_joined(asker: Asker) -> None:
    parts = [
        {"type": "text", "text": "in "},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "parts"},
    ]
    messages = [
        {"role": "user", "content": "before"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None},
    ]
    body = json.dumps({"model": "m", "messages": messages}).encode()
    reply = await asker.ask("POST", "/v1/chat/completions", body)
    assert reply.json()["choices"][0]["message"]["content"] == "in parts"
    assert reply.json()["model"] == "m"


async def test_embeddings(asker: Asker) -> None:
    found = await asker.ask("POST", "/v1/embeddings", b'{"model":"echo","input":["a","b"],"dimensions":8}')
    assert [len(one["embedding"]) for one in found.json()["data"]] == [8, 8]
    refused = await asker.ask("POST", "/v1/embeddings", b'{"model":"echo","input":[]}')
    assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_value")


async def test_an_empty_message_gets_an_answer_too(asker: Asker) -> None:
    assert said((await asker.chat("", stream=True)).chunks()) == NOTHING_TO_SAY


async def test_c34_a_lone_surrogate_is_answered_in_valid_utf8(asker: Asker) -> None:
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"a\\ud83d b \\ud83d\\ude00"}]}'
    reply = await asker.ask("POST", "/v1/chat/completions", body)
    assert said(reply.chunks()) == "a\ufffd b 😀"


async def test_usage_comes_last_and_only_if_asked_for(asker: Asker) -> None:
    asked = (await asker.chat("one two three", stream=True, stream_options={"include_usage": True})).chunks()
    assert asked[-1]["choices"] == []
    number = sum(1 for chunk in asked if chunk["choices"] and chunk["choices"][0]["delta"].get("content"))
    assert asked[-1]["usage"] == {"prompt_tokens": 4, "completion_tokens": number, "total_tokens": 4 + number}
    plain = (await asker.chat("one two three", stream=True)).chunks()
    assert all("usage" not in chunk for chunk in plain)


async def test_fewer_tokens_than_the_answer_has_end_with_length(asker: Asker) -> None:
    chunks = (await asker.chat("one two three four", stream=True, max_tokens=2)).chunks()
    assert "one two three four".startswith(said(chunks))
    assert len(chunks) == 4
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_the_same_request_gets_the_same_answer_under_an_id_of_its_own(asker: Asker) -> None:
    first, second = [(await asker.chat("again", stream=True)).chunks() for _ in range(2)]
    assert first[0]["id"] != second[0]["id"]
    assert [chunk["choices"] for chunk in first] == [chunk["choices"] for chunk in second]


async def test_reasoning_comes_before_the_text(asker: Asker) -> None:
    chunks = (await asker.chat("done", stream=True, echo={"reasoning": "let me think"})).chunks()
    assert said(chunks, "reasoning_content") == "let me think"
    kinds = [next(iter(chunk["choices"][0]["delta"]), "") for chunk in chunks]
    assert kinds.index("content", 1) > max(at for at, kind in enumerate(kinds) if kind == "reasoning_content")
    whole = (await asker.chat("done", echo={"reasoning": "let me think"})).json()
    assert whole["choices"][0]["message"]["reasoning_content"] == "let me think"


@pytest.mark.parametrize("arguments", [{"город": "Київ"}, '{"город": "Київ"}'])
async def test_a_tool_call_is_streamed_in_fragments(asker: Asker, arguments: object) -> None:
    knobs = {"tool_call": {"name": "weather", "arguments": arguments}}
    chunks = (await asker.chat("what weather?", stream=True, echo=knobs)).chunks()
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": None}
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["id"]
    assert calls[0]["function"] == {"name": "weather", "arguments": ""}
    assert all(set(call) == {"index", "function"} for call in calls[1:])
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"город": "Київ"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    whole = (await asker.chat("what weather?", echo=knobs)).json()["choices"][0]
    assert json.loads(whole["message"]["tool_calls"][0]["function"]["arguments"]) == {"город": "Київ"}
    assert whole["message"]["content"] is None


# -- how it says it -----------------------------------------------------------------------------------------


async def test_pauses_before_the_first_token_and_between_tokens(asker: Asker, autojump_clock: object) -> None:
    began = trio.current_time()
    chunks = (await asker.chat("tick tock", stream=True, echo={"ttft_ms": 500, "gap_ms": 40})).chunks()
    events = len(chunks) + 1
    assert trio.current_time() - began == pytest.approx(0.5 + 0.04 * (events - 1))


async def test_an_answer_in_one_piece_takes_as_long(asker: Asker, autojump_clock: object) -> None:
    reply = await asker.chat("tick tock", echo={"ttft_ms": 500, "gap_ms": 40})
    assert trio.current_time() == pytest.approx(0.5 + 0.04 * reply.json()["usage"]["completion_tokens"])


async def test_cut_writes_pieces_that_split_characters(asker: Asker) -> None:
    reply = await asker.chat("Привет 👨‍👩‍👧", stream=True, echo={"cut": 3})
    assert max(map(len, reply.pieces)) == 3
    with pytest.raises(UnicodeDecodeError):
        [piece.decode() for piece in reply.pieces]
    assert said(reply.chunks()) == "Привет 👨‍👩‍👧"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_status_can_be_asked_for(asker: Asker, stream: bool) -> None:
    reply = await asker.chat(stream=stream, echo={"fail": {"status": 503}})
    assert reply.status == 503
    assert reply.json()["error"]["type"] == "server_error"
    assert (await asker.chat("still there")).status == 200


async def test_c21_a_stream_without_a_finish(asker: Asker) -> None:
    reply = await asker.chat("one two three", stream=True, echo={"fail": {"after": 2, "how": "no_finish"}})
    assert not reply.broke_off
    chunks = [json.loads(event.removeprefix("data: ")) for event in reply.body.decode().split("\n\n")[:-1]]
    assert len(chunks) == 3
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)


async def test_c22_an_error_in_mid_stream(asker: Asker) -> None:
    reply = await asker.chat("one two three", stream=True, echo={"fail": {"after": 1, "how": "error"}})
    events = reply.body.split(b"\n\n")
    assert "error" in json.loads(events[-2].removeprefix(b"data: "))
    assert b"[DONE]" not in reply.body
    assert not reply.broke_off
    assert (await asker.chat(echo={"fail": {"how": "error"}})).status == 500


@pytest.mark.parametrize(("how", "whole_events"), [("close", True), ("reset", False)])
async def test_c20_a_connection_that_breaks_in_mid_stream(asker: Asker, how: str, whole_events: bool) -> None:
    reply = await asker.chat("one two three", stream=True, echo={"fail": {"after": 1, "how": how}})
    assert reply.broke_off
    assert reply.body.endswith(b"\n\n") is whole_events
    assert b'"content":"one"' in reply.body


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_that_breaks_in_an_answer_in_one_piece(asker: Asker, how: str) -> None:
    reply = await asker.chat("one two three", echo={"fail": {"how": how}})
    assert reply.broke_off
    assert 0 < len(reply.body) < int(reply.headers["content-length"])


async def test_c19_nothing_after_the_head(asker: Asker) -> None:
    reply = await asker.chat(stream=True, echo={"fail": {"after": 0, "how": "close"}})
    assert reply == (200, reply.headers, [], True)


async def test_c67_a_stall_lasts_until_the_peer_leaves(
    asker: Asker, far: list[MemoryStream], autojump_clock: object
) -> None:
    with trio.move_on_after(10_000) as waiting:
        await asker.chat(stream=True, echo={"fail": {"after": 1, "how": "stall"}})
    assert waiting.cancelled_caught
    assert not far[0].closed
    asker.stream.close()
    await trio.testing.wait_all_tasks_blocked()
    assert far[0].closed


async def test_it_notices_at_once_that_its_peer_has_left(
    asker: Asker, far: list[MemoryStream], autojump_clock: object
) -> None:
    with trio.move_on_after(1):
        await asker.chat(stream=True, echo={"ttft_ms": 600_000})
    asker.stream.close()
    began = trio.current_time()
    await trio.testing.wait_all_tasks_blocked()
    assert far[0].closed
    assert trio.current_time() == began


# -- what it refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"gap": 40}, "unknown field `gap` - at `$.echo`"),
        ({"gap_ms": -1}, "`$.echo.gap_ms`"),
        ({"gap_ms": "40"}, "`$.echo.gap_ms`"),
        ({"fail": {"status": 200}}, "`$.echo.fail.status`"),
        ({"fail": {"how": "explode"}}, "`$.echo.fail.how`"),
        ({"fail": {"after": 3}}, "`how` must be said"),
        ({"fail": {"status": 500, "how": "stall"}}, "exclude each other"),
        ({"tool_call": {}}, "`name`"),
        ([], "`$.echo`"),
    ],
)
async def test_a_wrong_knob_is_a_clear_error(asker: Asker, knobs: object, words: str) -> None:
    reply = await asker.chat(echo=knobs)
    assert reply.status == 400
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"m"}', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_chat_request_is_refused(asker: Asker, body: bytes) -> None:
    assert (await asker.ask("POST", "/v1/chat/completions", body)).status == 400


async def test_another_text_can_be_asked_for(asker: Asker) -> None:
    assert said((await asker.chat("this", stream=True, echo={"text": "that"})).chunks()) == "that"


async def test_models_and_unknown_paths(asker: Asker) -> None:
    models = (await asker.ask("GET", "/v1/models?limit=3")).json()
    assert models["data"] == [{"id": "echo", "object": "model", "created": 1760000000, "owned_by": "penstock"}]
    reply = await asker.ask("GET", "/v1/nothing")
    assert reply.status == 404
    assert reply.json()["error"]["code"] == "unknown_url"


async def test_what_is_not_http_gets_400_and_the_connection_is_closed(asker: Asker, far: list[MemoryStream]) -> None:
    await asker.stream.send_all(b"what?\r\n\r\n")
    assert (await asker.stream.receive()).startswith(b"HTTP/1.1 400 ")
    await trio.testing.wait_all_tasks_blocked()
    assert far[0].closed


async def test_a_chunked_body_after_expect_100_is_taken(asker: Asker) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: echo\r\nexpect: 100-continue\r\n"
    await asker.stream.send_all(head + b"transfer-encoding: chunked\r\n\r\n")
    assert await asker.stream.receive() == b"HTTP/1.1 100 \r\n\r\n"
    body = b'{"model":"m","messages":[{"role":"user","content":"chunked"}]}'
    await asker.stream.send_all(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    heard = await asker.hear()
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert b'"content":"chunked"' in heard


async def test_a_client_that_wants_no_other_answer_gets_none(asker: Asker, far: list[MemoryStream]) -> None:
    await asker.stream.send_all(b"GET /v1/models HTTP/1.1\r\nhost: echo\r\nconnection: close\r\n\r\n")
    assert b"connection: close" in (await asker.hear()).lower()
    assert far[0].closed


async def test_a_body_without_end_is_refused(
    asker: Asker, far: list[MemoryStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.providers.echo.MAX_BODY", 1000)
    reply = await asker.ask("POST", "/v1/chat/completions", b" " * 1001)
    assert reply.status == 413
    await trio.testing.wait_all_tasks_blocked()
    assert far[0].closed


async def test_requests_that_come_early_are_answered_in_order(asker: Asker, autojump_clock: object) -> None:
    slow = b'{"model":"m","echo":{"ttft_ms":1000},"messages":[{"role":"user","content":"slow"}]}'
    await asker.send("POST", "/v1/chat/completions", slow)
    await trio.testing.wait_all_tasks_blocked()
    await asker.stream.send_all(b"GET /v1/models HTTP/1.1\r\nhost: echo\r\n\r\n")
    await trio.sleep(2)
    heard = await asker.hear()
    assert 0 < heard.index(b'"content":"slow"') < heard.index(b'"object":"list"')


async def test_a_peer_that_talks_instead_of_listening_is_left(
    asker: Asker, far: list[MemoryStream], autojump_clock: object
) -> None:
    body = b'{"model":"m","echo":{"ttft_ms":1000},"messages":[{"role":"user","content":"slow"}]}'
    await asker.send("POST", "/v1/chat/completions", body)
    with pytest.raises(StreamBroken):
        await asker.stream.send_all(b"GET / HTTP/1.1\r\n" * 100_000)
    assert trio.current_time() < 1
    assert far[0].closed


async def test_c31_a_bug_ends_its_connection_and_not_the_gateway(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    def clock() -> float:
        raise ZeroDivisionError

    near, far = memory_pair()
    nursery.start_soon(Echo(nursery, clock=clock).serve, far)
    asker = Asker(near)
    await asker.send("GET", "/v1/models")
    assert await near.receive() == b""
    assert "the echo failed on a request" in caplog.text


async def test_no_descriptor_is_left(nursery: trio.Nursery) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(UpstreamError) as caught:
            await Echo(nursery).connect()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (caught.value.kind, caught.value.sent) == ("unreachable", False)


async def test_connections_by_the_system_are_served_side_by_side() -> None:
    async with trio.open_nursery() as nursery:
        echo = Echo(nursery)
        askers = [Asker(await echo.connect()) for _ in range(3)]
        for asker in askers:
            await asker.send("GET", "/v1/models")
        assert [(await asker.reply()).status for asker in reversed(askers)] == [200] * 3
        for asker in askers:
            asker.stream.close()
        # The nursery ends by itself, so each connection's task ended with its connection.


async def test_a_cancelled_service_closes_its_connections() -> None:
    async with trio.open_nursery() as nursery:
        stream = await Echo(nursery).connect()
        nursery.cancel_scope.cancel()
    with trio.fail_after(5):
        try:
            assert await stream.receive() == b""
        except StreamBroken:
            pass
    stream.close()


# -- tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text
    assert all(0 < len(token) <= 16 for token in tokens(text))


def test_tokens_are_of_realistic_size() -> None:
    text = "The quick brown fox jumps over the lazy dog, again and again. " * 20
    sizes = [len(token) for token in tokens(text)]
    assert 2.5 < sum(sizes) / len(sizes) < 5
    assert max(sizes) <= 8


def test_tokens_do_not_divide_what_is_drawn_as_one() -> None:
    for sign in ("👨‍👩‍👧‍👦", "👍🏽", "ক্ষ", "❤️‍🔥", "ó"):
        assert all(token.replace(sign, "").strip("a ") == "" for token in tokens(f"a{sign}aa {sign} aaa{sign}"))
