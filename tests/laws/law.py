"""The laws that every machine keeps, each one sentence at the top of its code; `Broken` says which did not hold.

`follow` is one execution: one byte string, cut in one way, through one machine, held against what a reference told
(or, where there is none, against what the machine itself told when it was fed byte by byte). It is called millions
of times, so it does nothing twice.
"""

from __future__ import annotations

import gc
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from laws.reference.told import NEVER, Told
from penstock.protocol.errors import LimitExceeded, LocalProtocolError, RemoteProtocolError

__all__ = ["Broken", "bytewise", "follow", "retained", "tell_twice"]

Chunks = Sequence[bytes]
Read = Callable[[Any], Any]
"""What a call of `feed` returned, as the reference puts it."""


class Broken(AssertionError):
    """A law does not hold."""

    def __init__(self, law: str, expected: Any, got: Any) -> None:
        super().__init__(law, expected, got)
        self.law, self.expected, self.got = law, expected, got

    def __str__(self) -> str:
        said = f"{self.law}\n  expected: {_short(self.expected)}\n  got:      {_short(self.got)}"
        if self.__cause__ is None:
            return said
        frame = traceback.extract_tb(self.__cause__.__traceback__)[-1]
        return f"{said}\n  raised:   {frame.filename}:{frame.lineno}: {frame.line}"


def _short(value: Any) -> str:
    said = repr(value)
    return said if len(said) < 600 else f"{said[:400]} ... {said[-180:]}"


SAME = "The results, joined, and the fault are the same for every cut, and what the reference says."
EARLY = "A result comes out with the byte that completes it, and a fault with the byte that shows it."
STATE = "What else a machine says of itself does not depend on the cut."
ERRORS = "Only declared errors are raised: whatever is sent, feed and close raise nothing but the fault."
FAULT = "After a fault, feed raises the same object each time, and a close returns nothing and raises at most that."
CLOSED = "Closing twice is closing once, and feed after close is the caller's error."
BOUNDED = "The bytes that are kept between two calls are within the limit plus one chunk."


def follow(
    machine: Any, chunks: Chunks, told: Told, read: Read, state: Read, kept: Read | None = None, room: int = 0
) -> None:
    """One execution. `room`: how many bytes may be kept besides the latest chunk, if `kept` is given to measure it."""
    results, due, known = told.results[:0], told.due, told.known
    fed, feed = 0, machine.feed
    looks = hasattr(machine, "fault")
    try:
        for chunk in chunks:
            fed += len(chunk)
            try:
                results += read(feed(chunk))
            except RemoteProtocolError as error:
                if error is not machine.fault:
                    raise Broken(FAULT, machine.fault, error) from error
            if len(results) != due[fed]:
                raise Broken(EARLY, (fed, told.results[: due[fed]]), (fed, results))
            if looks and (machine.fault is not None) is (fed < known):
                raise Broken(EARLY, (told.fault, known), (_described(machine.fault), fed))
            if kept is not None and kept(machine) > room + len(chunk):
                raise Broken(BOUNDED, room + len(chunk), kept(machine))
            if fed >= known:
                break
        results += read(_ended(machine))
        if results != told.results:
            raise Broken(SAME, told.results, results)
        if looks and _described(machine.fault) != told.fault:
            raise Broken(SAME, told.fault, _described(machine.fault))
        if state(machine) != told.state:
            raise Broken(STATE, told.state, state(machine))
        _over(machine)
    except Broken:
        raise
    except Exception as error:
        raise Broken(ERRORS, told.fault, error) from error


def _ended(machine: Any) -> Any:
    """What the end gives; its fault raised or not."""
    fault = getattr(machine, "fault", None)
    if fault is not None and fault.offset % 2:  # a driver may feed on, or close at once: half of them each
        for _ in range(2):
            try:
                machine.feed(b"x")
            except RemoteProtocolError as error:
                if error is not fault:
                    raise Broken(FAULT, fault, error) from error
            else:
                raise Broken(FAULT, fault, "feed raised nothing")
        last = machine.close()
        if last:
            raise Broken(FAULT, "nothing from close", last)
        return last
    try:
        return machine.close()
    except RemoteProtocolError as error:
        if error is not machine.fault:
            raise Broken(FAULT, machine.fault, error) from error
        return machine._nothing()


def _over(machine: Any) -> None:
    again = machine.close()
    if again:
        raise Broken(CLOSED, "nothing", again)
    try:
        machine.feed(b"x")
    except LocalProtocolError:
        pass
    else:
        raise Broken(CLOSED, "LocalProtocolError", "nothing raised")


def _described(fault: Any) -> tuple[str, int] | None:
    if fault is None:
        return None
    if type(fault) not in (RemoteProtocolError, LimitExceeded):
        raise Broken(ERRORS, "RemoteProtocolError or LimitExceeded", fault)
    return fault.kind, fault.offset


def bytewise(machine: Any, data: bytes, read: Read, state: Read) -> Told:
    """What a machine without a reference says when it is fed byte by byte: then nothing can come too early."""
    due, known, fault = [0], NEVER, None
    results: Any = None
    for at in range(len(data)):
        try:
            part = read(machine.feed(data[at : at + 1]))
            results = part if results is None else results + part
        except RemoteProtocolError:
            pass
        due.append(len(results) if results is not None else 0)
        if getattr(machine, "fault", None) is not None:
            known = at + 1
            break
    due += due[-1:] * (len(data) + 1 - len(due))
    try:
        part = read(machine.close())
        results = part if results is None else results + part
    except RemoteProtocolError:
        known = min(known, len(data) + 1)
    fault = _described(getattr(machine, "fault", None))
    return Told(results if results is not None else read(machine._nothing()), due, fault, known, state(machine))


def tell_twice(encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], value: Any) -> None:
    """Encoding and then decoding is the identity on what a format can carry, and encoding refuses the rest."""
    try:
        data = encode(value)
    except LocalProtocolError:
        return
    again = decode(data)
    if repr(again) != repr(value):  # which tells 1 from 1.0 and True
        raise Broken(tell_twice.__doc__ or "", value, (data, again))


_NO_PAYLOAD = (int, float, type(None), range, BaseException, re.Pattern)
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)
_EMPTY = sys.getsizeof("")


def retained(machine: Any) -> int:
    """Payload bytes of all texts and buffers that can be reached from `machine`, each object counted once.

    Code, types and patterns are passed over, and so is the fault, which holds no input.
    """
    seen: set[int] = set()
    total, waiting = 0, [machine]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (_NO_PAYLOAD, _CODE)):
            continue
        seen.add(id(item))
        if isinstance(item, bytes | bytearray):
            total += len(item)
        elif isinstance(item, str):
            total += sys.getsizeof(item) - _EMPTY
        else:
            waiting += gc.get_referents(item)
            if isinstance(item, dict):
                waiting += item  # the collector does not tell of keys that are texts
    return total
