"""Embeddings from one form into the other, in slices: lists of numbers, or base64 of little-endian float32.

SDKs ask for base64 unless they are told otherwise, and not every server knows it; numbers given to a reader of
base64 make a vector of a quarter of its width, without any error. So the value of each member `embedding` of an
answer is brought into the form that was asked for, and every other byte passes as it came.

Numbers become the nearest float32; a float32 becomes nine significant digits, which read back as the same float32.

Held back: the beginning of a number, of an escape or of a group of base64, and `"embedding"` begun. Cost: linear,
C code for all but the seams; nothing is kept of what has passed. Output before a fault is good for nothing.
"""

from __future__ import annotations

import json
import re
import struct
from binascii import Error as NotBase64
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Literal, get_args

from .errors import RemoteProtocolError
from .machine import Machine

__all__ = ["FORMS", "Form", "Repacker"]

Form = Literal["float", "base64"]
FORMS: tuple[str, ...] = get_args(Form)

MAX_NUMBER = 1024
_KEY = b'"embedding"'
_space = re.compile(rb"[ \t\n\r]*+").match
_unquoted = re.compile(rb'[^"]*+').match
_text = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL).match
_numbers = re.compile(rb"[-+.0-9eE, \t\n\r]*+").fullmatch

_State = Callable[["Repacker", bytes, int, list[bytes]], int]
_MORE = -1  # what a state returns where it needs more input to get on


class Repacker(Machine[bytes]):
    """The JSON of an answer in, the same out, with each embedding as `form` says. It does not judge the JSON.

    Faults: `bad_embedding`, for what is neither a list of numbers nor base64 of whole float32s.
    """

    __slots__ = ("_begun", "_bytes", "_chars", "_count", "_form", "_held", "_offset", "_padded", "_state")

    _empty = bytes

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self._held = b""
        self._offset = 0
        self._state: _State = Repacker._between
        self._count = 0  # numbers of this embedding so far
        self._bytes = b""  # of a float32, or of a group of base64, that is not whole yet
        self._chars = b""
        self._padded = False  # nothing may follow in this base64
        self._begun = 0  # where this embedding begins

    def _take(self, chunk: bytes) -> bytes:
        data, at, out = self._held + chunk, 0, list[bytes]()
        while at < len(data) and self.fault is None:
            end = self._state(self, data, at, out)
            if end == _MORE:
                break
            at = end
        self._held = data[at:]
        self._offset += at
        return b"".join(out)

    def _end(self) -> bytes:
        return self._held if self._state in (Repacker._between, Repacker._string) else b""

    def _refuse(self, what: str) -> int:
        self.fault = RemoteProtocolError(f"an embedding that is {what}", kind="bad_embedding", offset=self._begun)
        return _MORE

    # -- all but the embeddings: each state takes a run of bytes, and says where it ends

    def _between(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Outside of strings."""
        end = _unquoted(data, at).end()  # type: ignore[union-attr]  # it matches everywhere, as do the others
        if end > at:
            out.append(data[at:end])
            return end
        begun = data[at : at + len(_KEY)]
        if begun == _KEY:
            self._state, end = Repacker._after_key, at + len(_KEY)
        elif _KEY.startswith(begun):
            return _MORE
        else:
            self._state, end = Repacker._string, at + 1
        out.append(data[at:end])
        return end

    def _string(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Within a string that is no key of ours."""
        end = _text(data, at).end()  # type: ignore[union-attr]
        if data[end : end + 1] == b'"':
            end += 1
            self._state = Repacker._between
        out.append(data[at:end])
        return end if end > at else _MORE

    def _after_key(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Behind what is a key if a colon follows, and else a value."""
        end = _space(data, at).end()  # type: ignore[union-attr]
        colon = data[end : end + 1] == b":"
        if colon or end < len(data):
            self._state = Repacker._value if colon else Repacker._between
        out.append(data[at : end + colon])
        return end + colon

    def _value(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Before the value of an `embedding`."""
        end = _space(data, at).end()  # type: ignore[union-attr]
        out.append(data[at:end])
        first = data[end : end + 1]
        if not first:
            return end
        self._begun, self._count, self._padded = self._offset + end, 0, False
        if first == b"[" and self._form == "base64":
            out.append(b'"')
            self._state = Repacker._floats
        elif first == b'"':
            out.append(b"[" if self._form == "float" else b'"')
            self._state = Repacker._packed if self._form == "float" else Repacker._string
        else:
            self._state = Repacker._between
            return end
        return end + 1

    # -- numbers to base64

    def _floats(self, data: bytes, at: int, out: list[bytes]) -> int:
        end = data.find(b"]", at)
        if end < 0:
            comma = data.rfind(b",", at)
            if comma < 0:
                return self._refuse("no list of numbers") if len(data) - at > MAX_NUMBER else _MORE
            return comma + 1 if self._pack(data[at:comma], out) else _MORE
        if (self._count or data[at:end].strip()) and not self._pack(data[at:end], out):
            return _MORE
        out += [b2a_base64(self._bytes, newline=False), b'"']
        self._bytes = b""
        self._state = Repacker._between
        return end + 1

    def _pack(self, text: bytes, out: list[bytes]) -> bool:
        """Numbers with commas between them; whether they are some."""
        try:
            words = text.split(b",")
            if _numbers(text) is None or max(map(len, words)) > MAX_NUMBER:
                raise ValueError
            numbers = [float(word) for word in words]
            packed = self._bytes + struct.pack(f"<{len(numbers)}f", *numbers)
        except (ValueError, OverflowError):
            self._refuse("no list of numbers")
            return False
        self._count += len(numbers)
        whole = len(packed) - len(packed) % 3
        out.append(b2a_base64(packed[:whole], newline=False))
        self._bytes = packed[whole:]
        return True

    # -- base64 to numbers

    def _packed(self, data: bytes, at: int, out: list[bytes]) -> int:
        quote = data.find(b'"', at)
        end = len(data) if quote < 0 else quote
        if quote < 0 and (escape := data.rfind(b"\\", max(at, end - 5))) >= 0:
            end = escape  # some escape "+" and "/", and this one is perhaps not whole
            if end == at:
                return _MORE
        if not self._unpack(data[at:end], out, last=quote >= 0):
            return _MORE
        if quote < 0:
            return end
        out.append(b"]")
        self._state = Repacker._between
        return quote + 1

    def _unpack(self, text: bytes, out: list[bytes], *, last: bool) -> bool:
        """Base64; whether it is some."""
        try:
            if b"\\" in text:
                text = json.loads(b'"' + text + b'"').encode()
            chars = self._chars + text
            if last:
                chars += b"=" * (-len(chars) % 4)  # some leave the padding out
            if self._padded and chars:
                raise ValueError
            whole = len(chars) - len(chars) % 4
            self._padded = b"=" in chars[:whole]
            raw = self._bytes + a2b_base64(chars[:whole], strict_mode=True)
        except (ValueError, NotBase64):
            self._refuse("no base64")
            return False
        self._chars = chars[whole:]
        floats = struct.unpack_from(f"<{len(raw) // 4}f", raw)
        self._bytes = raw[len(floats) * 4 :]
        numbers = ",".join([f"{number:.9g}" for number in floats])
        if "n" in numbers or (last and self._bytes):  # as in nan and inf
            self._refuse("no base64 of float32")
            return False
        if floats:
            out.append(b"," * bool(self._count) + numbers.encode())
        self._count += len(floats)
        return True
