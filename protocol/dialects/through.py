"""The same dialect on both sides: frames pass as they came, and the dialect's own decoder looks on.

What a frame says moves the life cycle and counts usage; its JSON goes out byte for byte, unknown fields and exact
numbers included, in framing of our own. Only what no client could read is written anew: bad UTF-8, NaN, line breaks
that only some readers know, and halves of surrogate pairs, which are put together again where a delta ends inside
one.

Held back: a frame whose text ends in a high surrogate, until the next frame. If that goes on with the same text, the
half moves over to it; else it is U+FFFD. So each frame goes out once, in its order, and whatever else is in it too.
Cost: one `json.loads` a frame.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, NamedTuple

from .. import jsontext
from ..chat import Event, Failed
from .source import Source

__all__ = ["Place", "Through"]


class Place(NamedTuple):
    """Where the running text of a frame stands: `holder[key]`; frames of one text have equal `name`s."""

    holder: dict[str, Any]
    key: str
    name: Hashable


class Through(Source[bytes]):
    """Base of the passages that look at every frame. A dialect says which decoder looks on, how a frame is written,
    and where its text stands."""

    __slots__ = ("_held", "_marked", "_watch")

    decoder: ClassVar[Callable[..., Source[Event]]]

    def __init__(
        self,
        framing: str = "sse",
        *,
        include_usage: bool = True,
        id: str = "",
        created: int = 0,
        model: str = "",
        **options: Any,
    ) -> None:
        super().__init__(framing, **options)
        self._watch = type(self).decoder(framing, id=id, created=created, model=model, **options)
        self.life = self._watch.life
        self._held: tuple[dict[str, Any], Place] | None = None  # a frame, and where in it a text ends in a half
        self._marked = False

    @abstractmethod
    def _frame(self, value: dict[str, Any], text: bytes) -> bytes:
        """A frame for a client: `text` is the JSON of `value`."""

    @abstractmethod
    def _place(self, value: dict[str, Any]) -> Place | None:
        """Where the text of this frame stands, if it carries some."""

    @abstractmethod
    def _end_marker(self) -> list[bytes]:
        """The dialect's end marker, where the upstream declared the end without it."""

    @abstractmethod
    def _error_frame(self, failed: Failed) -> bytes:
        """The failure for a client to whom frames were sent."""

    def _read(self, value: dict[str, Any], raw: bytes) -> list[bytes]:
        self._watch._read(value, raw)
        self.usage = self._watch.usage
        if self._watch.failed is not None:
            self.failed = self._watch.failed
            return []
        self._marked = self.life.ended
        if raw and self._held is None:
            return [self._frame(value, raw)]
        return self._mended(value, raw)

    def _mended(self, value: dict[str, Any], raw: bytes) -> list[bytes]:
        """The slow way: a frame that cannot go out as it came, or that follows half of a character."""
        place = self._place(value)
        if self._held is not None and place is not None and place.name == self._held[1].name:
            before = self._held[1]
            text = before.holder[before.key]
            before.holder[before.key], half = text[:-1], text[-1]
            place.holder[place.key] = half + place.holder[place.key]
            raw = b""
        out = self._flush()
        text = place.holder[place.key] if place is not None else ""
        if place is not None and not self.life.ended and "\ud800" <= text[-1:] <= "\udbff":
            self._held = value, place
            return out
        return [*out, self._frame(value, raw or jsontext.dumps(value))]

    def _flush(self) -> list[bytes]:
        """The frame that was held; a half that nothing followed becomes U+FFFD as it is written."""
        if self._held is None:
            return []
        value, _ = self._held
        self._held = None
        return [self._frame(value, jsontext.dumps(value))]

    def _before_eof(self) -> None:
        self._watch._before_eof()

    def _finish(self) -> list[bytes]:
        return self._flush() + ([] if self._marked else self._end_marker())

    def _tell(self, failed: Failed) -> list[bytes]:
        return [*self._flush(), self._error_frame(failed)] if self.life.started else []
