"""What decides something here is small: a longer value is refused before anybody parses it.

A message may have megabytes, and those that are meant for an endpoint go there unparsed. What the socket itself wants
to know of it is a few words; read in one go without a bound, a value made of `[],[],…` would hold up all streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import refusal

if TYPE_CHECKING:
    from ...protocol.members import Members

__all__ = ["ID_BYTES", "PARAMS_BYTES", "UNSHOWN_BYTES", "VALUE_BYTES", "value"]

ID_BYTES = 256
"""Of an id or a progress token, as JSON: it is repeated in each delta."""

VALUE_BYTES = 8192
"""Of a member that is looked at here, and of the params of a cancellation."""

PARAMS_BYTES = 65536
"""Of the params of a method that reads them itself; a session's details are the most."""

UNSHOWN_BYTES = 65536
"""Of a message, unpacked, while a key is still to be shown: `initialize` needs a few hundred."""


def value(message: Members, name: str, default: Any = None) -> Any:
    """The value of a member; `default` where there is none. Raises Refusal if it is long."""
    if len(message.raw(name)) > VALUE_BYTES:
        raise refusal.bad_request(f"'{name}' has more than {VALUE_BYTES} bytes.", "invalid_value", name)
    return message.value(name, default)
