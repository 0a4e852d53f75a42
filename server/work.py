"""What may be asked of an upstream: the part of a `Call` that knows the bodies.

`Chat` asks a model for an answer, in any dialect for any other; others pass on what is no chat. An `Exchange` serves
all of them alike: it asks for a request for each target, and for a machine that the answer's bytes go through.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..protocol.chat import Ending, Event, Failed, Lifecycle, Text, Usage
from ..protocol.dialects import DIALECTS
from ..protocol.members import Members
from ..protocol.reader import Reader
from ..protocol.relay import Relay, Whole
from . import estimate

if TYPE_CHECKING:
    from ..providers.catalog import Target
    from ..providers.provider import Provider
    from ..providers.transport import UpstreamRequest
    from .call import Call
    from .doors import Door

__all__ = ["Chat", "Passing", "Reading", "Work"]

_NO_BODY = Members(b"", [])


class Passing(Protocol):
    """What the bytes of an answer go through, as `relay.Relay` does it."""

    @property
    def content_type(self) -> str: ...
    @property
    def life(self) -> Lifecycle: ...
    @property
    def started(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def ending(self) -> Ending | None: ...
    @property
    def failed(self) -> Failed | None: ...
    @property
    def usage(self) -> Usage | None: ...

    def feed(self, chunk: bytes, /) -> bytes: ...
    def close(self) -> bytes: ...
    def cut(self) -> bytes: ...
    def fail(self, failed: Failed, /) -> bytes: ...


class Reading(Protocol):
    """What reads an answer into events, as `reader.Reader` does it."""

    @property
    def failed(self) -> Failed | None: ...
    def feed(self, data: bytes, /) -> list[Event]: ...
    def close(self) -> list[Event]: ...


class Work(ABC):
    """One thing that is asked. `stream` is whether the answer goes out as it comes; `content_type` is that of such
    an answer, where it is known before the upstream has said anything."""

    __slots__ = ()

    stream: bool
    content_type: str
    endpoint: str
    """What it is called in the accounts: the operation, by `providers.settings.Operation`."""
    deadline: Literal["answer", "embeddings"] = "answer"
    """Which deadline an answer in one piece has."""

    @property
    def size(self) -> int:
        """Bytes that have to be put into other words for a request: many of them are put so in a thread."""
        return 0

    @property
    def tokens(self) -> tuple[int, int]:
        """About how many tokens the prompt has, and how many the answer may have at most: for what is reserved. To be
        asked before the body is let go."""
        return 0, 0

    @abstractmethod
    def source(self, provider: Provider) -> str:
        """What `provider` is spoken to in."""

    @abstractmethod
    def request(self, call: Call, target: Target) -> UpstreamRequest:
        """The request for `target`. Raises RemoteProtocolError where it cannot be said to this provider."""

    @abstractmethod
    def passing(self, call: Call, source: str, content_type: str | None, clean: Callable[[Failed], Failed]) -> Passing:
        """The machine that makes of an answer what this client asked for."""

    def let_go(self) -> None:  # noqa: B027 - most have little to let go of
        """Nothing can be asked again: thousands of open streams need not hold their prompts."""

    def silence(self, call: Call) -> bytes:
        """What fills a silence, where `keepalive` is on; b"" where nothing may."""
        return b""

    def error_frame(self, call: Call, failed: Failed) -> bytes:
        """An error for a client whose answer has been begun; b"" where only breaking it off can tell."""
        return b""


class Chat(Work):
    """An answer of a model. `encoding` is what the encoder of the client's dialect has to be told."""

    __slots__ = ("body", "content_type", "door", "encoding", "endpoint", "include_usage", "stream")

    def __init__(
        self, door: Door, body: Members, *, stream: bool, include_usage: bool, encoding: Mapping[str, Any]
    ) -> None:
        self.door = door
        self.body = body
        self.stream = stream
        self.include_usage = include_usage
        self.encoding = encoding
        self.content_type = door.content_type
        self.endpoint = door.dialect

    @property
    def size(self) -> int:
        """See `Work`."""
        return len(self.body.body)

    @property
    def tokens(self) -> tuple[int, int]:
        """See `Work`."""
        return estimate.prompt(self.body.body), estimate.answer(self.body)

    def source(self, provider: Provider) -> str:
        """The client's own dialect if the provider speaks it."""
        return provider.source(self.door.dialect)

    def request(self, call: Call, target: Target) -> UpstreamRequest:
        """The client's body, with the target's own model id in it and no credential of the client's."""
        return target.provider.chat_request(
            self.body,
            target.model,
            stream=self.stream,
            sink=self.door.dialect,
            request_id=call.request_id,
            headers=call.forward,
        )

    def passing(self, call: Call, source: str, content_type: str | None, clean: Callable[[Failed], Failed]) -> Passing:
        """A relay where the client streams, else what puts a whole answer together."""
        common = {**self._reading(call, content_type, clean), "encoding": self.encoding}
        if self.stream:
            return Relay(source, self.door.dialect, include_usage=self.include_usage, **common)
        return Whole(source, self.door.dialect, max_message_bytes=call.limits.message_bytes, **common)

    def let_go(self) -> None:
        """See `Work`."""
        self.body = _NO_BODY

    def with_body(self, body: Members, **encoding: Any) -> Chat:
        """The same in other words, in the place of this; `encoding` is what its encoder has to be told besides."""
        other = copy.copy(self)
        self.let_go()
        other.body = body
        other.encoding = {**self.encoding, **encoding}
        return other

    def reader(self, call: Call) -> Reading:
        """What reads the answer as the client gets it, for those who look on."""
        return Reader(
            self.door.dialect,
            content_type=self.content_type if self.stream else "application/json",
            max_frame_bytes=call.limits.message_bytes,
            json_depth=call.limits.json_depth,
        )

    def silence(self, call: Call) -> bytes:
        """A comment, or whatever the dialect has in its place."""
        return self._frame(call, Text("")) if self.door.silence is None else self.door.silence

    def error_frame(self, call: Call, failed: Failed) -> bytes:
        """The error as the client's dialect has it in mid-stream."""
        return self._frame(call, failed)

    def _reading(self, call: Call, content_type: str | None, clean: Callable[[Failed], Failed]) -> dict[str, Any]:
        """What the machine has to know that reads the upstream's answer."""
        limits = call.limits
        return {
            "content_type": content_type,
            **self._identity(call),
            "max_frame_bytes": limits.frame_bytes,
            "json_depth": limits.json_depth,
            "clean": clean,
        }

    def _identity(self, call: Call) -> dict[str, Any]:
        id = self.door.id_prefix + call.request_id.removeprefix("req_")
        return {"id": id, "created": call.created, "model": call.model}

    def _frame(self, call: Call, event: Event) -> bytes:
        encoder = DIALECTS[self.door.dialect].encoder(**self._identity(call), **self.encoding)
        frame: bytes = encoder.encode([event])
        return frame
