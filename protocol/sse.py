"""Server-sent events, as the WHATWG HTML text says (section 9.2.6, "Interpreting an event stream").

`Decoder` makes `Event`s of bytes, `encode` makes bytes of an event; below the decoder, in `blocks`, lies what
finds lines and keeps the limit, and `Blocks` and `fields` for those who want the events as bytes.

Invalid UTF-8 is replaced; since CR and LF are ASCII, decoding many lines at once gives the same text as decoding
each. Event types are forgotten with each event, ids stay, and take effect when an event is dispatched.

Cost: where a chunk holds no CR and nothing but single `data: ` lines with their blank lines, one `decode`, one
`split` and one `count` turn all its events into text at once. Anything unusual takes the general path, line by
line; the data of an open event is kept as the bytes that came, and decoded when it is dispatched.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from .blocks import MAX_EVENT_BYTES, Blocks, EventLines, Fields, fields
from .errors import LocalProtocolError
from .machine import Chunk

__all__ = ["Blocks", "Comment", "Decoder", "Event", "Fields", "encode", "encode_comment", "fields"]

_MAX_RETRY_DIGITS = 15


class Event(NamedTuple):
    """One event; `id` is the last event id in force when it was dispatched."""

    data: str
    event: str = "message"
    id: str = ""


_new = tuple.__new__  # a NamedTuple's own `__new__` is written in Python, and costs twice as much


class Comment(NamedTuple):
    """The text of a comment line, without the colon and one space after it."""

    text: str


class Decoder(EventLines[list[Event | Comment]]):
    """Bytes to events.

    `incomplete` says what an unterminated last event becomes at `close`: nothing, as in browsers
    (`"discard"`; then `.dropped` is True), or an event (`"dispatch"`). `comments=True` returns comments too,
    in order. An event of more than `max_event_bytes` raw bytes is a fault, kind `event_too_large`.
    Held back: a byte order mark's beginning and an unfinished event.
    """

    __slots__ = ("_comments", "_data", "_dispatch_last", "_id", "_plain", "_type", "dropped", "last_event_id", "retry")

    def __init__(
        self,
        max_event_bytes: int = MAX_EVENT_BYTES,
        incomplete: Literal["discard", "dispatch"] = "discard",
        comments: bool = False,
    ) -> None:
        super().__init__(max_event_bytes)
        if incomplete not in ("discard", "dispatch"):
            raise ValueError(f"incomplete must be 'discard' or 'dispatch', not {incomplete!r}")
        self.last_event_id = ""
        """The id in force: of the last event, or of a block that set it without data."""
        self.retry: int | None = None
        """The reconnection time that the peer asked for, in milliseconds."""
        self.dropped = False
        """Whether an open event was discarded at `close`."""
        self._dispatch_last = incomplete == "dispatch"
        self._comments = comments
        self._data = bytearray()  # of the open event, a LF after each line
        self._type = b""
        self._id = ""
        self._plain = False  # whether the next byte begins or continues the first line of an event, or a comment

    def feed(self, data: Chunk) -> list[Event | Comment]:
        """Take one chunk; return the events that it completed."""
        if self._plain and type(data) is bytes and b"\r" not in data:
            end = data.rfind(b"\n\n")
            after = self._offset + len(data)
            block = self._held + data[:end] if end >= 0 and after <= self._edge else b""
            if block.startswith(b"data: "):
                rest = data[end + 2 :]
                # n texts between n times "data: ", and 2n - 2 line ends: each event is one data line.
                texts = str(block, "utf-8", "replace")[6:].split("\n\ndata: ")
                if block.count(b"\n") == 2 * len(texts) - 2 and b"\n" not in rest:
                    self._held, self._offset = rest, after
                    self._edge = after - len(rest) + self._limit
                    id = self.last_event_id
                    return [_new(Event, (text, "message", id)) for text in texts]
        return super().feed(data)

    def _take(self, chunk: bytes) -> list[Event | Comment]:
        events: list[Event | Comment] = []
        for line in self._lines(chunk):
            self._line(line, events)
        self._plain = not self._open and self._is_plain(b"") and self.fault is None
        if self.fault is not None:
            self._data.clear()
        return events

    def _line(self, line: bytes | bytearray, events: list[Event | Comment]) -> None:
        """Take one line; what it completes goes to `events`. Names of fields are compared exactly."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data += value
            self._data += b"\n"
        elif not line:
            self._dispatch(events)
        elif name == b"event":
            self._type = bytes(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = _text(value)
        elif name == b"retry":
            self._set_retry(value)
        elif self._comments and not name:
            events.append(Comment(_text(value)))

    def _set_retry(self, value: bytes | bytearray) -> None:
        """ "If the field value consists of only ASCII digits": and of no more than a clock can use."""
        digits = value.lstrip(b"0")
        if value.isdigit() and len(digits) <= _MAX_RETRY_DIGITS:
            self.retry = int(digits or b"0")

    def _dispatch(self, events: list[Event | Comment]) -> None:
        """A blank line: the id takes effect even where there is no data, and thus no event."""
        self.last_event_id = self._id
        if self._data:
            del self._data[-1:]
            events.append(Event(_text(self._data), _text(self._type) or "message", self._id))
            self._data.clear()
        self._type = b""

    def _end(self) -> list[Event | Comment]:
        self._plain = False
        events: list[Event | Comment] = []
        for line in self._last_lines():
            if self._dispatch_last:
                self._line(line, events)
        if self._dispatch_last:
            self._dispatch(events)
        self.dropped = self._open and not self._dispatch_last
        self._data.clear()
        return events


def _text(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "replace")


# --- the way back ---


def encode(event: Event, retry: int | None = None) -> bytes:
    """`event` as bytes, so that a decoder gives it back; `event:` and `id:` only where they say something.

    Raises LocalProtocolError for what the format cannot carry: CR in the data, CR or LF in name or id, NUL
    in an id ("then ignore the field"), an empty name, lone surrogates, a `retry` that is no count of milliseconds.
    """
    if "\r" in event.data:
        raise LocalProtocolError("the data of an event cannot hold a CR")
    lines = []
    if event.event != "message":
        if not event.event:
            raise LocalProtocolError("the name of an event cannot be empty")
        lines.append("event: " + _one_line(event.event, "name"))
    if event.id:
        if "\0" in event.id:
            raise LocalProtocolError("the id of an event cannot hold NUL")
        lines.append("id: " + _one_line(event.id, "id"))
    if retry is not None:
        if type(retry) is not int or not 0 <= retry < 10**_MAX_RETRY_DIGITS:
            raise LocalProtocolError("retry is a count of milliseconds")
        lines.append(f"retry: {retry:d}")
    lines.append("data: " + event.data.replace("\n", "\ndata: "))
    return _utf8("\n".join(lines))


def encode_comment(text: str) -> bytes:
    """A comment and a blank line. Raises LocalProtocolError for CR, LF and lone surrogates."""
    return _utf8(": " + _one_line(text, "comment"))


def _one_line(text: str, what: str) -> str:
    if "\r" in text or "\n" in text:
        raise LocalProtocolError(f"the {what} of an event cannot hold CR or LF")
    return text


def _utf8(block: str) -> bytes:
    try:
        return block.encode("utf-8") + b"\n\n"
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(f"not expressible in UTF-8: {exc.reason}") from exc
