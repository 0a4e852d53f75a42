"""A whole HTTP/1.1 response: the head judged, interim ones skipped, and the transfer coding off its body.

RFC 9112 section 6.3 says how a body ends: not at all where there can be none, in chunks, after as many bytes as
the head says, or with the connection. `Response` joins `head` and `chunked` to that for whoever brings a socket and
nothing else; `body_of` gives the part behind a head that was read already.

Cost: nothing is copied of a body that comes sized, or until the end.
"""

from __future__ import annotations

from . import head
from .chunked import Decoder
from .errors import RemoteProtocolError
from .head import ResponseHead
from .machine import Machine

__all__ = ["Body", "Counted", "Response", "UntilEnd", "body_of"]


class Counted(Machine[list[bytes]]):
    """A body of `length` bytes. `done` says that it is whole, `unused` is what came behind it. The end of input before
    that is a fault, kind `truncated_body`."""

    __slots__ = ("_length", "_missing", "unused")

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = self._missing = length
        self.unused = b""

    @property
    def done(self) -> bool:
        """Whether all of it has come."""
        return not self._missing

    def _take(self, chunk: bytes) -> list[bytes]:
        if len(chunk) > self._missing:
            chunk, self.unused = chunk[: self._missing], self.unused + chunk[self._missing :]
        self._missing -= len(chunk)
        return [chunk] if chunk else []

    def _end(self) -> list[bytes]:
        if self._missing:
            message = f"the body ended {self._missing} bytes short"
            self.fault = RemoteProtocolError(message, kind="truncated_body", offset=self._length - self._missing)
        return []


class UntilEnd(Machine[list[bytes]]):
    """A body that ends with its connection: whatever comes is part of it, and `close` makes it `done`."""

    __slots__ = ("done",)

    unused = b""

    def __init__(self) -> None:
        super().__init__()
        self.done = False

    def _take(self, chunk: bytes) -> list[bytes]:
        return [chunk] if chunk else []

    def _end(self) -> list[bytes]:
        self.done = True
        return []


Body = Counted | UntilEnd | Decoder


def body_of(method: str, status: int, *, chunked: bool, length: int | None) -> Body:
    """How the body of the response to a `method` request ends, by RFC 9112 section 6.3."""
    # "Any response to a HEAD request and any response with a 1xx, 204, or 304 status code is always
    # terminated by the first empty line after the header fields ... and thus cannot contain a message body"
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Counted(0)
    if chunked:
        return Decoder()
    return UntilEnd() if length is None else Counted(length)


class Response(Machine[list[bytes]]):
    """Bytes of a connection to the body of one response, the transfer coding off.

    `head` is None until the final head is whole; heads of status 1xx are skipped, and all heads together may have
    `max_head_bytes`. `done` says that the body is whole, `unused` is what came behind it: a next response's. Faults
    are those of `head.Scanner`, `head.check`, `chunked.Decoder` and `Counted`. Held back: an unfinished head.
    """

    __slots__ = ("_body", "_came", "_limit", "_method", "_offset", "_scanner", "head")

    def __init__(self, method: str = "POST", *, max_head_bytes: int = 64 * 1024) -> None:
        super().__init__()
        self.head: ResponseHead | None = None
        self._method = method
        self._limit = max_head_bytes
        self._scanner = head.Scanner(max_head_bytes)
        self._came = 0  # bytes, until the head is whole
        self._offset = 0  # of the head that is read, then of the body
        self._body: Body | None = None

    @property
    def done(self) -> bool:
        """Whether the response is whole."""
        return self._body is not None and self._body.done

    @property
    def unused(self) -> bytes:
        """What came behind the response."""
        return b"" if self._body is None else self._body.unused

    def _take(self, chunk: bytes) -> list[bytes]:
        try:
            self._came += len(chunk) if self._body is None else 0
            while self._body is None:
                raw = self._scanner.feed(chunk)
                if not raw:
                    return []
                chunk = self._scanner.unused
                self._found(raw)
            return self._body.feed(chunk) if chunk else []
        except RemoteProtocolError as exc:
            self._keep(exc)
            return []
        finally:
            if self._body is not None and self._body.fault is not None:
                self._keep(self._body.fault)

    def _found(self, raw: bytes) -> None:
        self._offset = self._came - len(self._scanner.unused) - len(raw)  # an empty line may stand before a head
        found = head.check(raw, "response")
        self._offset += len(raw)
        if found.status < 200:
            self._scanner = head.Scanner(max(self._limit - self._offset, 0))
        else:
            self.head = found
            self._body = body_of(self._method, found.status, chunked=found.chunked, length=found.content_length)

    def _end(self) -> list[bytes]:
        try:
            if self._body is not None:
                return self._body.close()
            self._scanner.close()
            raise RemoteProtocolError("the connection ended without a response", kind="incomplete_head")
        except RemoteProtocolError as exc:
            self._keep(exc)
            return []

    def _keep(self, fault: RemoteProtocolError) -> None:
        if self.fault is None:
            fault.offset += self._offset
            self.fault = fault
