"""asyncio, and no HTTP library: a streamed chat over the plain streams of `asyncio.open_connection`.

    python examples/with_asyncio.py                                    # plays a recorded stream to itself
    python examples/with_asyncio.py http://127.0.0.1:8777 echo/echo    # asks `penstock serve`, or any like it

The core brings what lies between a socket and the words of a model: `head` writes the request's head and judges the
answer's, `chunked` takes the transfer coding off, the dialect's decoder finds frames, JSON and events in what remains.
asyncio brings bytes, and all that this file does is to carry them from one to the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from urllib.parse import urlsplit

import demo_upstream
from penstock.protocol import chat, chunked, head
from penstock.protocol.dialects import openai


async def ask(url: str, request: chat.Request) -> AsyncGenerator[chat.Event, None]:
    """The events of the answer; the last one is `End`, or `Failed` for whatever went wrong with it.

    Raises OSError and EOFError where there is no answer, RemoteProtocolError where it is no HTTP.
    """
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port or 80)
    try:
        body = openai.encode_request(request)
        headers = [("host", place.netloc), ("content-type", "application/json"), ("content-length", str(len(body)))]
        headers += [("connection", "close")]  # so that what is not chunked ends with the connection
        writer.write(head.encode_request("POST", f"{place.path}/v1/chat/completions", headers) + body)
        answer = head.check(await reader.readuntil(b"\r\n\r\n"), "response")
        coding = chunked.Decoder() if answer.chunked else None
        if answer.status != 200:
            said = await reader.read()
            yield openai.decode_error(answer.status, body=b"".join(coding.feed(said)) if coding else said)
            return
        decoder = openai.StreamDecoder()
        while not decoder.ended and (data := await reader.read(65536)):
            for piece in coding.feed(data) if coding else [data]:
                for event in decoder.feed(piece):
                    yield event
        for event in decoder.close():
            yield event
    finally:
        writer.close()


async def main(url: str, model: str) -> None:
    question = {"role": "user", "content": "Привіт, বাংলা 👋"}
    request = chat.Request(model, [question], stream=True, include_usage=True)
    async with aclosing(ask(url, request)) as events:
        async for event in events:
            match event:
                case chat.Text(text) | chat.Reasoning(text):
                    print(text, end="", flush=True)
                case chat.Finish(reason=reason):
                    print(f"\nfinished: {reason}")
                case chat.Usage(prompt, completion):
                    print(f"{prompt} tokens in, {completion} out")
                case chat.Failed(message):
                    print(f"\nfailed: {message}")


if __name__ == "__main__":
    with demo_upstream.target() as (url, model):
        asyncio.run(main(url, model))
