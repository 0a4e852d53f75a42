"""The `openai` package as its users call it, sync and async, behind one set of awaitable names.

The async client runs on this process's trio (through anyio); the sync one runs in a thread, as it would in a
script. A test that takes the `sdk` fixture is run with both.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import openai
import trio

__all__ = ["HELLO", "AsyncSdk", "SyncSdk", "said"]

OPTIONS: dict[str, Any] = {"api_key": "sk-client", "timeout": 10.0}
HELLO = [{"role": "user", "content": "Привет"}]


class AsyncSdk:
    """`AsyncOpenAI`; `client` is that itself, for all that has no name here."""

    def __init__(self, base_url: str, **options: Any) -> None:
        self.client = openai.AsyncOpenAI(base_url=base_url, **OPTIONS | options)

    async def whole(self, **arguments: Any) -> Any:
        return await self.client.chat.completions.create(**_chat(arguments))

    async def raw(self, **arguments: Any) -> Any:
        """The answer with its HTTP status and headers."""
        return await self.client.chat.completions.with_raw_response.create(**_chat(arguments))

    async def chunks(self, seen: Callable[[Any], None] = lambda chunk: None, **arguments: Any) -> list[Any]:
        """All chunks of a stream; `seen` is called with each as it comes."""
        chunks = []
        async with await self.client.chat.completions.create(stream=True, **_chat(arguments)) as stream:
            async for chunk in stream:
                seen(chunk)
                chunks.append(chunk)
        return chunks

    async def first_chunk(self, **arguments: Any) -> Any:
        """The first chunk; the stream is left there, as a `break` leaves it."""
        stream = await self.client.chat.completions.create(stream=True, **_chat(arguments))
        async with stream, aclosing(aiter(stream)) as chunks:
            return await anext(chunks)

    async def helper(self, **arguments: Any) -> tuple[list[Any], Any]:
        """What the `.stream()` helper gives: its events, and the completion that it puts together."""
        async with self.client.chat.completions.stream(**_chat(arguments)) as stream:
            return [event async for event in stream], await stream.get_final_completion()

    async def models(self) -> list[str]:
        return [model.id async for model in self.client.models.list()]

    async def model(self, name: str) -> Any:
        return await self.client.models.retrieve(name)

    async def close(self) -> None:
        await self.client.close()


class SyncSdk:
    """`OpenAI`, in a thread; `client` is that itself."""

    def __init__(self, base_url: str, **options: Any) -> None:
        self.client = openai.OpenAI(base_url=base_url, **OPTIONS | options)

    async def whole(self, **arguments: Any) -> Any:
        return await _thread(self.client.chat.completions.create, **_chat(arguments))

    async def raw(self, **arguments: Any) -> Any:
        return await _thread(self.client.chat.completions.with_raw_response.create, **_chat(arguments))

    async def chunks(self, seen: Callable[[Any], None] = lambda chunk: None, **arguments: Any) -> list[Any]:
        def read() -> list[Any]:
            chunks = []
            with self.client.chat.completions.create(stream=True, **_chat(arguments)) as stream:
                for chunk in stream:
                    trio.from_thread.run_sync(seen, chunk)
                    chunks.append(chunk)
            return chunks

        return await _thread(read)

    async def first_chunk(self, **arguments: Any) -> Any:
        def read() -> Any:
            with self.client.chat.completions.create(stream=True, **_chat(arguments)) as stream:
                return next(iter(stream))

        return await _thread(read)

    async def helper(self, **arguments: Any) -> tuple[list[Any], Any]:
        def read() -> tuple[list[Any], Any]:
            with self.client.chat.completions.stream(**_chat(arguments)) as stream:
                return list(stream), stream.get_final_completion()

        return await _thread(read)

    async def models(self) -> list[str]:
        return await _thread(lambda: [model.id for model in self.client.models.list()])

    async def model(self, name: str) -> Any:
        return await _thread(self.client.models.retrieve, name)

    async def close(self) -> None:
        self.client.close()


def said(chunks: list[Any]) -> str:
    """The text that these chunks have."""
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def _chat(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"model": "local/tiny", "messages": HELLO} | arguments


async def _thread(function: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    return await trio.to_thread.run_sync(partial(function, *positional, **named), abandon_on_cancel=True)
