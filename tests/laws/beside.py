"""What is no chat under the laws: the parts of a form, and embeddings from one form into the other."""

from __future__ import annotations

import base64
import json
import struct
from email import message_from_bytes
from random import Random
from typing import Any

from laws.law import Broken
from laws.reference.told import Told
from laws.streams import trouble
from laws.subjects import AGREES, Case, Subject, low_limit
from penstock.protocol.embeddings import Repacker
from penstock.protocol.multipart import Parts

__all__ = ["PIECES", "SUBJECTS"]

SPLICES = "Each part stands where it is said to stand, and the standard library finds the same ones."

_B = b"x7-y"
_HEADS = (
    b'Content-Disposition: form-data; name="model"\r\n\r\n',
    b'content-disposition: form-data; name="file"; filename="a \\" b.wav"\r\nContent-Type: audio/wav\r\n\r\n',
    b"Content-Disposition: form-data; name=prompt\r\n\r\n",
    b"Content-Disposition: form-data; name=\"\xd0\xb6[]\"; filename*=UTF-8''x\r\nX: y\r\n\r\n",
)
PIECES = (*_HEADS, b"--" + _B, b"\r\n--" + _B, b"--" + _B + b"--", b"\r\n", b"--", b"-", b"x7", _B, *trouble.BYTES)


def _form(choose: Random) -> Case:
    data = b"\r\n" if choose.random() < 0.1 else b""
    for _ in range(int(choose.random() * 5)):
        value = trouble.some(choose, (*trouble.BYTES, b"-", b"\r\n--x", b"\r\n--x7-", b"tiny"), 12)
        data += b"--%b\r\n%b%b\r\n" % (_B, choose.choice(_HEADS), value)
    data += b"--%b--%b" % (_B, choose.choice([b"", b"\r\n"]))
    if choose.random() < 0.5:
        data = trouble.mutated(choose, data, PIECES)
    limits = {"max_parts": low_limit(choose, 6), "max_header_bytes": 8192 if choose.random() < 0.6 else 60}
    return Case(data, {**limits, "max_value_bytes": low_limit(choose, 40)})


def _make(**limits: int) -> Parts:
    return Parts(_B, ("model",), **limits)


def _room(options: Any) -> int:
    return options["max_header_bytes"] + options["max_value_bytes"] + 2 * len(_B) + 400


def _spliced(case: Case, told: Told) -> None:
    if told.fault is not None:
        return
    head = b"Content-Type: multipart/form-data; boundary=%b\r\n\r\n" % _B
    parts = told.results
    for part in parts:
        before, after = case.data[: part.start], case.data[part.end :]
        if not before.endswith(b"\r\n\r\n") or not after.startswith(b"\r\n--" + _B):
            raise Broken(SPLICES, part, case.data)
        if part.value is not None and part.value != case.data[part.start : part.end]:
            raise Broken(SPLICES, case.data[part.start : part.end], part.value)
    if parts:
        names = [
            one.get_param("name", header="content-disposition") for one in message_from_bytes(head + case.data).walk()
        ]
        if len(names) - 1 != len(parts):
            raise Broken(SPLICES, names, parts)


_NUMBERS = (b"0", b"-1", b"0.1", b"1e-9", b" 2.5 ", b"-0", b"3.4028234e38", b"1E5", b"0.10000000149011612")
_KEYS = (b'"embedding"', b'"embed"', b'"x"', b'"embedding\\""', b'"\\u0065mbedding"')


def _answer(choose: Random) -> Case:
    members = []
    for _ in range(int(choose.random() * 6)):
        numbers = [choose.choice(_NUMBERS) for _ in range(int(choose.random() * 9))]
        if choose.random() < 0.5:
            packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *map(float, numbers)))
            value = b'"' + packed.replace(b"/", choose.choice([b"/", b"\\/", b"\\u002f"])) + b'"'
        else:
            value = b"[" + b",".join(numbers) + b"]"
        space = choose.choice([b"", b" ", b"\n\t"])
        members.append(choose.choice(_KEYS) + space + b":" + space + value)
        members.append(
            b'"object":"embedding"' if choose.random() < 0.5 else b'"t":' + json.dumps(trouble.text(choose)).encode()
        )
    return Case(b"{" + b",".join(members) + b"}", {"form": choose.choice(["float", "base64"])})


def _floats(value: Any) -> Any:
    raw = base64.b64decode(value) if isinstance(value, str) else struct.pack(f"<{len(value)}f", *value)
    return struct.unpack(f"<{len(raw) // 4}f", raw)


def _same_numbers(case: Case, told: Told) -> None:
    """Each embedding has the form that was asked for and the same numbers; all else is as it was."""
    came, went = (json.loads(data, object_pairs_hook=list) for data in (case.data, told.results))
    wanted = str if case.options["form"] == "base64" else list
    for (name, before), (again, after) in zip(came, went, strict=True):
        is_one = name == "embedding" and "\\u0065mbedding" not in case.data.decode()
        if name != again or (not is_one and name != "embedding" and before != after):
            raise Broken(AGREES, (name, before), (again, after))
        if is_one and (type(after) is not wanted or _floats(before) != _floats(after)):
            raise Broken(_same_numbers.__doc__ or "", before, after)


SUBJECTS = [
    Subject("multipart", _form, _make, room=_room, also=_spliced),
    Subject("embeddings", _answer, Repacker, room=lambda options: 1100, also=_same_numbers),
]
