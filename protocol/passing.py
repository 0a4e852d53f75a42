"""Answers that are no chat, on their way from an upstream to a client that reads the same form.

Nothing is translated, so little has to be known, and that little is what decides about the ending:

    Copy       bytes go out as they come (speech, images): complete when the body was, by HTTP's own framing
    Document   a body in one piece: held until it is complete, and then looked at for `error` and `usage`
    Events     a stream of typed events (`transcript.text.delta` ...): whole events go out, and their own end counts

`cut` in the place of `close` says that the connection broke. A stream of typed events is complete at its `….done` or
`….completed`, or at `[DONE]`; one of another shape ends with its body.

Cost: a `Document` is judged in slices as it comes, and nothing of it is parsed but two members; an `Events` parses
each event once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from . import jsontext, sse
from .chat import Ending, Failed, Lifecycle, Usage, counted
from .dialects import failures
from .dialects.source import Source, empty, malformed, truncated
from .embeddings import FORMS, Form, Repacker
from .errors import RemoteProtocolError
from .members import Member, Members, Splitter
from .pipeline import Pipe, Pipeline

__all__ = ["Copy", "Document", "Events", "usage"]

_JUDGED_BYTES = 65536
"""A member larger than this is no account and no error message, and is not parsed."""


def usage(said: Any) -> Usage | None:
    """The tokens that a `usage` object of any of these endpoints counts; None where it counts something else."""
    if not isinstance(said, dict):
        return None

    def count(*names: str) -> int | None:
        return next((counted(value) for name in names if type(value := said.get(name)) is int), None)

    prompt, completion = count("prompt_tokens", "input_tokens"), count("completion_tokens", "output_tokens")
    total = count("total_tokens")
    if prompt is None and completion is None and total is None:
        return None
    prompt = prompt if prompt is not None else max((total or 0) - (completion or 0), 0)
    return Usage(prompt, completion or 0, total if total is not None else prompt + (completion or 0), raw=said)


class _Passing:
    """What `Copy` and `Document` have in common: where they stand, and the ways to an early end."""

    __slots__ = ("content_type", "failed", "life", "usage")

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type
        self.life = Lifecycle()
        self.failed: Failed | None = None
        self.usage: Usage | None = None

    @property
    def started(self) -> bool:
        """Whether something of the answer was given."""
        return self.life.started

    @property
    def finished(self) -> bool:
        """Whether only the end marker is awaited: there is none."""
        return False

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""
        return self.life.ended

    @property
    def ending(self) -> Ending | None:
        """How it ended, once it has."""
        return self.life.ending

    def cut(self) -> bytes:
        """The upstream's connection broke."""
        if not self.life.ended:
            self.life.eof()
            self.failed = truncated()
        return b""

    def fail(self, failed: Failed) -> bytes:
        """End it from outside. There is no way to say so within the answer."""
        if not self.life.ended:
            self.life.fail()
            self.failed = failed
        return b""


class Copy(_Passing):
    """Bytes that go out as they come."""

    __slots__ = ()

    def feed(self, chunk: bytes) -> bytes:
        """The same bytes."""
        if self.life.ended or not chunk:
            return b""
        self.life.content()
        return chunk

    def close(self) -> bytes:
        """The body is complete; an empty one is a failure."""
        if not self.life.ended:
            self.failed = None if self.life.started else empty()
            self.life.marker()
        return b""


class Document(_Passing):
    """A body in one piece, of at most `max_message_bytes`: `feed` gives nothing, `close` all of it, or b"" where it
    `failed`.

    `form`: bring embeddings into this form, if it is `float` or `base64`. A JSON object that says `error` is a failure
    (which `clean` may change before anybody sees it), one that ends too early is truncated. `json_depth` is how deep
    it may be nested to be looked at.
    """

    __slots__ = ("_body", "_clean", "_found", "_is_json", "_limit", "_repacker", "_size", "_splitter")

    def __init__(
        self,
        content_type: str,
        *,
        form: str = "",
        max_message_bytes: int = 64 * 1024 * 1024,
        json_depth: int = 128,
        clean: Callable[[Failed], Failed] | None = None,
    ) -> None:
        super().__init__(content_type)
        self._clean = clean
        media = content_type.partition(";")[0].strip().lower()
        self._is_json = media.endswith(("/json", "+json"))
        self._limit = max_message_bytes
        self._body: list[bytes] = []
        self._size = 0
        self._found: list[Member] = []
        self._splitter: Splitter | None = Splitter(max_depth=json_depth)
        self._repacker = Repacker(cast("Form", form)) if form in FORMS else None

    @property
    def started(self) -> bool:
        """Whether the whole answer is there."""
        return self.life.ended and self.failed is None

    def feed(self, chunk: bytes) -> bytes:
        """Take more of the body."""
        if self.life.ended:
            return b""
        self.life.content()
        if self._repacker is not None:
            chunk = self._repacked(self._repacker, chunk)
        self._keep(chunk)
        if self._size > self._limit:
            self.fail(malformed(f"more than {self._limit} bytes"))
        if self.failed is not None:
            self._body.clear()
        return b""

    def close(self) -> bytes:
        """The body is complete: all of it."""
        if self.life.ended:
            return b""
        if self._repacker is not None:
            self._keep(self._repacker.close())
        body = b"".join(self._body)
        self._body.clear()
        whole = self._is_whole()
        members = Members(body, self._found)
        failed = failures.find({"error": error}) if (error := _small(members, "error")) else None
        if failed is not None:
            return self.fail(failed if self._clean is None else self._clean(failed))
        if self._is_json and not whole:
            return self.cut() if body.strip() else self.fail(empty())
        self.usage = usage(_small(members, "usage"))
        self.life.content()
        self.life.marker()
        return body

    def _repacked(self, repacker: Repacker, chunk: bytes) -> bytes:
        out = b""
        try:
            out = repacker.feed(chunk)
        except RemoteProtocolError:
            pass  # it may as well come with what was before the fault
        if repacker.fault is not None:
            self.fail(malformed(str(repacker.fault)))
        return out

    def _keep(self, piece: bytes) -> None:
        """More of what goes out; it is judged as long as it is a JSON object."""
        self._body.append(piece)
        self._size += len(piece)
        if self._splitter is not None:
            try:
                self._found += self._splitter.feed(piece)
            except RemoteProtocolError:
                self._splitter = None  # text, a list, or JSON that only some read: theirs to judge

    def _is_whole(self) -> bool:
        """Whether it did not end too early, as far as that can be told."""
        try:
            if self._splitter is not None:
                self._found += self._splitter.close()
        except RemoteProtocolError:
            return False
        return True


def _small(members: Members, name: str) -> Any:
    """A member's value, if it is of a size that means something."""
    raw = members.raw(name)
    return jsontext.loads_body(raw)[0] if raw and len(raw) <= _JUDGED_BYTES else None


class _Typed(Source[bytes]):
    """A stream of typed events: each goes out as it came, in framing of our own."""

    __slots__ = ("_event", "_is_typed", "_marked", "was_cut")

    def __init__(self, framing: str, **options: Any) -> None:
        super().__init__(framing, **options)
        self._event = b""
        self._is_typed = False
        self._marked = False
        self.was_cut = False

    def _block(self, block: bytes, *, cut: bool = False) -> list[bytes]:
        found = sse.fields(block.lstrip(b"\n"))
        self._event = found.event if found is not None and found.event else b""
        return super()._block(block, cut=cut)

    def _read(self, value: dict[str, Any], raw: bytes) -> list[bytes]:
        kind = value.get("type")
        self._is_typed = self._is_typed or isinstance(kind, str)
        if isinstance(kind, str) and kind.endswith((".done", ".completed")):
            self.life.finish()
        else:
            self.life.content()
        self.usage = usage(value.get("usage")) or self.usage
        named = b"event: %b\n" % self._event if self._event else b""
        return [b"%bdata: %b\n\n" % (named, raw or jsontext.dumps(value))]

    def _done(self) -> None:
        self._marked = True
        super()._done()

    def _before_eof(self) -> None:
        if self.life.started and not self._is_typed and not self.was_cut:
            self.life.finish()

    def _finish(self) -> list[bytes]:
        return [b"data: [DONE]\n\n"] if self._marked else []

    def _tell(self, failed: Failed) -> list[bytes]:
        return [b"data: %b\n\n" % failures.encode_error(failed)[1]] if self.life.started else []


class Events(Pipeline):
    """A stream of typed events. Arguments as for `relay.Relay`."""

    __slots__ = ()

    content_type = "text/event-stream"

    def _make(self, framing: str) -> Pipe:
        return _Typed(framing, **self._limits)

    def cut(self) -> bytes:
        """The upstream's connection broke: the end of the body says nothing."""
        if isinstance(self._pipe, _Typed):
            self._pipe.was_cut = True
        return self.close()
