"""anyio: two answers race, the loser's connection is closed in the middle; on asyncio and on trio.

    pip install anyio trio
    python examples/with_anyio.py                                    # plays a recorded stream to itself
    python examples/with_anyio.py http://127.0.0.1:8777 echo/echo

A decoder knows nothing of tasks. It belongs to whoever feeds it, holds no resource, and when its task is cancelled
there is nothing to clean up but the socket.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import anyio

import demo_upstream
from penstock.protocol import chat, chunked, head
from penstock.protocol.dialects import openai


async def ask(url: str, request: chat.Request) -> chat.Answer | chat.Failed:
    """The whole answer, put together from its stream. Raises RemoteProtocolError for what is no HTTP."""
    place = urlsplit(url)
    body = openai.encode_request(request)
    headers = [("host", place.netloc), ("content-type", "application/json"), ("content-length", str(len(body)))]
    headers += [("connection", "close")]  # so that what is not chunked ends with the connection
    scanner, decoder, whole = head.Scanner(), openai.StreamDecoder(), chat.Accumulator()
    answer, coding, refusal = None, None, b""
    async with await anyio.connect_tcp(place.hostname or "", place.port or 80) as stream:
        await stream.send(head.encode_request("POST", f"{place.path}/v1/chat/completions", headers) + body)
        async for data in stream:
            if answer is None:
                if not (raw := scanner.feed(data)):
                    continue
                answer = head.check(raw, "response")
                coding = chunked.Decoder() if answer.chunked else None
                data = scanner.unused  # the body begins in the middle of what was read
            for piece in coding.feed(data) if coding else [data]:
                if answer.status != 200:
                    refusal += piece
                else:
                    whole.feed(decoder.feed(piece))
            if decoder.ended:
                break
    if answer is not None and answer.status != 200:
        return openai.decode_error(answer.status, body=refusal)
    whole.feed(decoder.close())
    return decoder.failed or whole.answer()


async def race(url: str, request: chat.Request) -> chat.Answer | chat.Failed:
    """Ask twice, and take what comes first."""
    first: list[chat.Answer | chat.Failed] = []

    async def run() -> None:
        first.append(await ask(url, request))
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)
    return first[0]


async def main(url: str, model: str) -> None:
    question = {"role": "user", "content": "Привіт, বাংলা 👋"}
    answer = await race(url, chat.Request(model, [question], stream=True))
    print(answer.message if isinstance(answer, chat.Failed) else answer.choices[0].text)


if __name__ == "__main__":
    with demo_upstream.target() as (url, model):
        for backend in ("asyncio", "trio"):
            print(f"{backend}: ", end="", flush=True)
            anyio.run(main, url, model, backend=backend)
