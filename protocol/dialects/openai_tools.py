"""Tool calls of one choice: what upstreams send under any index, in the one form that clients put together.

Servers leave `index` out, send all calls at index 0, start at 1,
repeat id and name in each delta, leave the id out, send arguments as an object. A client that joins deltas
by index makes one broken call of two, or doubles a name. So: a call is known by its upstream index as long
as id and name do not say otherwise; it goes out under a dense index, with id, type and name once.
"""

from __future__ import annotations

import hashlib
from typing import Any

from .. import jsontext

__all__ = ["Call", "Calls"]


class Call:
    """One call, as far as it has come."""

    __slots__ = ("id", "index", "name")

    def __init__(self, index: int, upstream_id: str, name: str) -> None:
        self.index = index
        self.id = upstream_id
        self.name = name


class Calls:
    """The calls of one choice. `seed` makes synthesised ids differ between streams and choices.

    Cost: what an entry belongs to is looked up, however many calls there are.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_seed", "unbegun")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._calls: list[Call] = []
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}  # the first call of each id
        self.unbegun: dict[int, None] = {}
        """Indices of the calls without any arguments so far, in order."""

    def __len__(self) -> int:
        return len(self._calls)

    def mend(self, entry: dict[str, Any]) -> dict[str, Any]:
        """One entry of `delta.tool_calls` in canonical form; the very same object if it was in it already."""
        function = entry.get("function")
        function = function if isinstance(function, dict) else {}
        name = function.get("name")
        call_id = entry.get("id")
        given_id = str(call_id) if isinstance(call_id, (str, int)) else ""
        call, new = self._find(entry.get("index"), given_id, name if isinstance(name, str) else "")
        mended = {key: value for key, value in entry.items() if key not in ("index", "id", "type", "function")}
        mended["index"] = call.index
        if new:
            mended["id"] = given_id or self._synthesise(call.index)
            mended["type"] = entry.get("type") or "function"
        custom = entry.get("custom")
        if isinstance(custom, dict):  # a custom tool has `custom: {name, input}` in place of `function`
            mended["custom"] = {k: _as_text(v) if k in ("name", "input") else v for k, v in custom.items()}
            self.unbegun.pop(call.index, None)
        else:
            mended["function"] = self._function(call, function, new)
        return entry if mended == entry and type(entry["index"]) is int else mended

    def _function(self, call: Call, function: dict[str, Any], new: bool) -> dict[str, Any]:
        mended = {key: value for key, value in function.items() if key not in ("name", "arguments")}
        name = function.get("name")
        if new or (not call.name and name):
            call.name = mended["name"] = name if isinstance(name, str) else ""
        mended["arguments"] = arguments = _as_text(function.get("arguments"))
        if arguments:
            self.unbegun.pop(call.index, None)
        return mended

    def _find(self, index: Any, call_id: str, name: str) -> tuple[Call, bool]:
        """The call that an entry belongs to, and whether it begins with it.

        An id that was not seen before opens a call, whatever index it comes with; so does another name where
        there is no id.
        """
        known = type(index) is int  # in Python, True is an int, and equal to 1
        call = self._by_index.get(index) if known else None
        if call is None and not call_id and not name:
            call = self._calls[-1] if self._calls else None  # a fragment opens nothing
        elif not known and call_id:
            call = self._by_id.get(call_id)
        if call is not None and call_id and call.id != call_id:
            if call.id or call.index not in self.unbegun or (name and call.name):
                call = None
            else:
                call.id = call_id  # the id comes late, and the name has not come: the same call still
        elif call is not None and not call_id and name and call.name and name != call.name:
            call = None
        new = call is None
        if call is None:
            call = Call(len(self._calls), call_id, name)
            self._calls.append(call)
            self.unbegun[call.index] = None
        if call.id:
            self._by_id.setdefault(call.id, call)
        if known:
            self._by_index[index] = call
        return call, new

    def _synthesise(self, index: int) -> str:
        return "call_" + hashlib.sha256(f"{self._seed}/{index}".encode("utf-8", "replace")).hexdigest()[:24]


def _as_text(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else jsontext.dumps(arguments).decode()
