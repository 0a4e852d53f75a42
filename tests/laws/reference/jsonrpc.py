"""A JSON-RPC 2.0 message, judged sentence by sentence of the specification (sections 4, 4.2, 5, 5.1 and 6).

Narrower than its text, as the project is: a number that no double can hold, or text that is not Unicode, is no id.
"""

from __future__ import annotations

import math
from typing import Any

from .json import Bad, parse

__all__ = ["Peer", "is_answered", "judge"]

_PARSE_ERROR = ("invalid", -32700, "Parse error", None, False)


def judge(raw: bytes, max_depth: int, max_batch: int) -> Any:
    """("request", method, params, id), ("notification", method, params), ("success", result, id),
    ("failure", code, message, data, id), ("invalid", code, message, id, whether it is a response), or
    ("batch", a list of these)."""
    try:
        value = parse(raw, max_depth)
    except Bad:
        return _PARSE_ERROR
    if not isinstance(value, list):
        return _single(value)
    if not value or len(value) > max_batch:
        return _invalid(None)
    return "batch", [_single(item) for item in value]


def _invalid(id: Any, response: bool = False) -> Any:
    return "invalid", -32600, "Invalid Request", id, response


def _single(value: Any) -> Any:
    if not isinstance(value, dict):
        return _invalid(None)
    has = value.__contains__
    said = value.get("id")
    id = said if _is_id(said) else None
    if has("method"):
        good = (
            value.get("jsonrpc") == "2.0"
            and _is_id(said)
            and isinstance(value["method"], str)
            and (not has("params") or isinstance(value["params"], dict | list))
            and not has("result")
            and not has("error")
        )
        if not good:
            return _invalid(id)
        if has("id"):
            return "request", value["method"], value.get("params"), said
        return "notification", value["method"], value.get("params")
    if not has("result") and not has("error"):
        return _invalid(id)
    if value.get("jsonrpc") != "2.0" or not has("id") or not _is_id(said) or (has("result") and has("error")):
        return _invalid(id, True)
    if has("result"):
        return "success", value["result"], said
    error = value["error"]
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        return _invalid(id, True)
    return "failure", error["code"], error["message"], error.get("data"), said


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or type(value) is int


def _is_unicode(text: str) -> bool:
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


def is_answered(method: str) -> bool:
    """Whether `Peer` answers requests of this method: not if it is empty, or cannot be sent."""
    return method != "" and _is_unicode(method)


class Peer:
    """One side of a connection, in the plainest way: it asked `asked` requests (ids from 1), answers each request
    with its method if `is_answered`, and else never."""

    def __init__(self, asked: int, max_in_flight: int, max_depth: int, max_batch: int) -> None:
        self.waiting: list[Any] = list(range(1, asked + 1))
        self.unanswered: list[Any] = []
        self.limits = max_in_flight, max_depth, max_batch

    def receive(self, raw: bytes) -> tuple[list[Any], list[Any]]:
        """What a message holds, and the values that are sent because of it."""
        room, *limits = self.limits
        judged = judge(raw, *limits)
        batch = judged[0] == "batch"
        found = [self._take(item, room) for item in (judged[1] if batch else [judged])]
        answers: list[Any] = []
        silent = False
        for item in found:
            if item[0] == "request" and not is_answered(item[1]):
                silent = True
            elif item[0] == "request":
                self.unanswered.remove(item[3])
                answers.append({"jsonrpc": "2.0", "result": item[1], "id": item[3]})
            elif item[0] == "invalid" and not item[4]:
                answers.append({"jsonrpc": "2.0", "error": {"code": item[1], "message": item[2]}, "id": item[3]})
        if batch:
            return found, [] if silent or not answers else [answers]
        return found, answers

    def _take(self, item: Any, room: int) -> Any:
        if item[0] == "request":
            if item[3] in self.unanswered:
                return _invalid(item[3])
            if len(self.unanswered) >= room:
                return "invalid", -32008, "Too many requests in flight", item[3], False
            self.unanswered.append(item[3])
        elif item[0] in ("success", "failure"):
            if item[-1] in self.waiting:
                self.waiting.remove(item[-1])
            elif item[0] == "success" or item[-1] is not None:
                return _invalid(item[-1], True)
        elif item[0] == "invalid" and item[4] and item[3] in self.waiting:
            self.waiting.remove(item[3])
        return item
