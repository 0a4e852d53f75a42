"""The messages of JSON-RPC 2.0, as values: type decides, fields carry.

Five single kinds and the batch. `None` says that an optional member (`params`, `data`) is absent; a `data` of
null is read as absent, which says the same. Messages of two kinds are never equal, though they are tuples: a
`Success("a", None)` is no `Notification("a", None)`. (Dataclasses would be so by themselves, but they load `inspect`,
which adds a fifth to the time that importing the core takes.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, TypeGuard, TypeVar

from ..jsontext import has_surrogate

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "MESSAGES",
    "METHOD_NOT_FOUND",
    "OVERLOADED",
    "PARSE_ERROR",
    "REQUEST_CANCELLED",
    "Batch",
    "Failure",
    "Id",
    "Invalid",
    "Message",
    "Notification",
    "Params",
    "Request",
    "Single",
    "Success",
    "is_id",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
OVERLOADED: Final = -32008  # ours, out of the range "reserved for implementation-defined server-errors"
REQUEST_CANCELLED: Final = -32800  # LSP's

MESSAGES: Mapping[int, str] = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
    OVERLOADED: "Too many requests in flight",
    REQUEST_CANCELLED: "Request cancelled",
}
"""The text that goes with each code, always the same, so that readers may compare it."""

Id = str | int | float | None
Params = list[Any] | dict[str, Any] | None

_Kind = TypeVar("_Kind", bound=type[tuple[Any, ...]])
_NOT_COMPARED = ("reason", "response")


def _kind(kind: _Kind) -> _Kind:
    """Makes a tuple's class one of its own: its values equal none of another class."""
    count = sum(name not in _NOT_COMPARED for name in kind.__annotations__)

    def equal(self: tuple[Any, ...], other: object) -> bool:
        return isinstance(other, kind) and self[:count] == other[:count]

    def unequal(self: tuple[Any, ...], other: object) -> bool:
        return not equal(self, other)

    def hashed(self: tuple[Any, ...]) -> int:
        return hash((kind, self[:count]))

    for name, method in (("__eq__", equal), ("__ne__", unequal), ("__hash__", hashed)):
        setattr(kind, name, method)
    return kind


@_kind
class Request(NamedTuple):
    """A call that is to be answered once, whatever its id is, null too."""

    method: str
    params: Params
    id: Id


@_kind
class Notification(NamedTuple):
    """A call that is never answered: the message has no id member at all."""

    method: str
    params: Params = None


@_kind
class Success(NamedTuple):
    """The answer to a request, with its result."""

    result: Any
    id: Id


@_kind
class Failure(NamedTuple):
    """The answer to a request, with an error; `id` is null where the request's could not be read."""

    code: int
    message: str
    data: Any = None
    id: Id = None


@_kind
class Invalid(NamedTuple):
    """Stands in the place of a message that is none. Encoded, it is the error that answers it.

    `id` is the offender's where it could be read. `reason` says in a few words what is wrong, for logs; it
    does not go over the wire. `response` says that the offender is a response (it has a result or an error
    and no method), or answers nothing: such are never answered, for two peers would do so for ever. Neither
    counts when messages are compared.
    """

    code: int
    message: str
    id: Id = None
    reason: str = ""
    response: bool = False


Single = Request | Notification | Success | Failure | Invalid


@_kind
class Batch(NamedTuple):
    """Several messages in one array: never empty, and no batch among them."""

    items: Sequence[Single]


Message = Single | Batch


def is_id(value: object) -> TypeGuard[Id]:
    """Whether `value` can be an id: "a String, Number, or NULL" (section 4). `True` is no number here.

    Nor is a number beyond a double's range, or text that is not Unicode: they could not be repeated in an answer.
    """
    if isinstance(value, str):
        return not has_surrogate(value)
    if isinstance(value, float):
        return isfinite(value)
    return value is None or (isinstance(value, int) and not isinstance(value, bool))
