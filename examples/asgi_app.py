"""ASGI: an Ollama for clients that speak nothing else, in front of any OpenAI-compatible server.

    python examples/asgi_app.py                                    # calls the app once in this process, needs nothing
    UPSTREAM=http://127.0.0.1:8777 uvicorn --app-dir examples asgi_app:app --port 11434

`Relay` takes the upstream's stream to the client's dialect, `Whole` puts it together for a client that wants no stream.
While nothing has started a failure can still be a status; after that the relay tells the client in its own dialect.
A client that leaves takes its upstream along: nobody pays for tokens that nobody reads.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import demo_upstream
from penstock.protocol import RemoteProtocolError, chat, chunked, head
from penstock.protocol.dialects import ollama, openai
from penstock.protocol.relay import Relay, Whole

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8777")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def app(scope: Message, receive: Receive, send: Send, upstream: str = UPSTREAM) -> None:
    """The ASGI application. It has no router: whatever is asked is a chat."""
    assert scope["type"] == "http"
    parts = [await receive()]
    while parts[-1].get("more_body"):
        parts.append(await receive())
    body = b"".join(part.get("body", b"") for part in parts)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer(upstream, body, send))
        leaving = tasks.create_task(left(receive))
        answering.add_done_callback(lambda _: leaving.cancel())
        leaving.add_done_callback(lambda _: answering.cancel())


async def answer(upstream: str, body: bytes, send: Send) -> None:
    try:
        request = ollama.decode_request(body)
    except RemoteProtocolError as wrong:
        await refuse(send, chat.Failed(str(wrong), wrong.status, "invalid_request_error", wrong.kind))
        return
    kind = Relay if request.stream else Whole
    relay = kind("openai", "ollama", include_usage=True, created=int(time.time()), model=request.model)
    begun = False
    async with aclosing(frames(upstream, request._replace(include_usage=True), relay)) as ready:
        async for data in ready:
            if data and not begun:
                await start(send, 200, relay.content_type)
                begun = True
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
    if begun:
        await send({"type": "http.response.body"})
    else:
        await refuse(send, relay.failed or chat.Failed("the upstream said nothing"))


async def frames(url: str, request: chat.Request, relay: Relay | Whole) -> AsyncGenerator[bytes, None]:
    """Ask the upstream, and give what is ready for the client. What goes wrong is in `relay.failed`."""
    place, body, writer = urlsplit(url), openai.encode_request(request), None
    headers = [("host", place.netloc), ("content-type", "application/json"), ("content-length", str(len(body)))]
    headers += [("connection", "close")]  # so that what is not chunked ends with the connection
    try:
        reader, writer = await asyncio.open_connection(place.hostname, place.port or 80)
        writer.write(head.encode_request("POST", f"{place.path}/v1/chat/completions", headers) + body)
        said = head.check(await reader.readuntil(b"\r\n\r\n"), "response")
        coding = chunked.Decoder() if said.chunked else None
        if said.status != 200:
            data = await reader.read()
            yield relay.fail(openai.decode_error(said.status, body=b"".join(coding.feed(data)) if coding else data))
        while not relay.ended and (data := await reader.read(65536)):
            for piece in coding.feed(data) if coding else [data]:
                yield relay.feed(piece)
        yield relay.close()
    except (OSError, EOFError, RemoteProtocolError) as error:
        yield relay.fail(chat.Failed(f"the upstream cannot be asked: {error}"))
    finally:
        if writer is not None:
            writer.close()


async def left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def start(send: Send, status: int, content_type: str) -> None:
    headers = [(b"content-type", content_type.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def refuse(send: Send, failed: chat.Failed) -> None:
    status, body = ollama.encode_error(failed)
    await start(send, status, "application/json")
    await send({"type": "http.response.body", "body": body})


async def demo(url: str, model: str) -> None:
    """What an ASGI server does, for one request."""
    question = chat.Request(model, [{"role": "user", "content": "Привіт, বাংলা 👋"}], stream=True)
    messages = [{"type": "http.request", "body": ollama.encode_request(question)}]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.Future()  # a client that stays

    async def send(message: Message) -> None:
        print(f"HTTP {message['status']}" if "status" in message else message.get("body", b"").decode().strip())

    await app({"type": "http", "method": "POST", "path": "/api/chat"}, receive, send, url)


if __name__ == "__main__":
    with demo_upstream.target() as (url, model):
        asyncio.run(demo(url, model))
