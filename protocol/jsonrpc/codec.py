"""Bytes to messages and back, strictly as the JSON-RPC 2.0 text has it.

`decode` judges: whatever a peer sends, the result is a message, and an `Invalid` says what is wrong. What a
message is follows from the members it has, never from their values: with `method` it is a call, and a request if
there is an `id`, be it null; with `result` or `error` it is a response. A batch is judged element by element.
Other members are ignored; of a member that comes twice the last counts.

JSON is read as `ndjson.parse` does: strict UTF-8, no NaN, depth and length of numbers limited, integers exact.
A lone surrogate (`"\\ud800"`) or a number beyond a double's range is JSON, and params and results may have it; that
is the caller's to judge, and `encode` refuses to pass it on.

Cost: one parse, one look at each member of the envelope. Bounded: see `decode`.
"""

from __future__ import annotations

from typing import Any

from .. import ndjson
from ..errors import LocalProtocolError, RemoteProtocolError
from .messages import (
    INVALID_REQUEST,
    MESSAGES,
    PARSE_ERROR,
    Batch,
    Failure,
    Id,
    Invalid,
    Message,
    Notification,
    Request,
    Single,
    Success,
    is_id,
)

__all__ = ["MAX_BATCH", "MAX_DEPTH", "decode", "encode"]

MAX_DEPTH = 128
MAX_BATCH = 10_000  # `[1,1,1,…` costs its sender two bytes an element, and us an answer of 75 for each

_Object = dict[str, Any]


def decode(message: bytes | str, *, max_depth: int = MAX_DEPTH, max_batch: int = MAX_BATCH) -> Message:
    """The one message or batch in `message`; never raises for what a peer sent.

    No JSON, no UTF-8, arrays and objects nested more than `max_depth` deep, numbers of more than 4,300 digits:
    `Invalid` with -32700. JSON that is no message, an empty batch, one of more than `max_batch` elements:
    `Invalid` with -32600.
    """
    try:
        raw = message.encode() if isinstance(message, str) else bytes(memoryview(message))
        value = ndjson.parse(raw, max_depth)
    except UnicodeEncodeError:
        return Invalid(PARSE_ERROR, MESSAGES[PARSE_ERROR], reason="invalid_utf8")
    except RemoteProtocolError as bad:
        return Invalid(PARSE_ERROR, MESSAGES[PARSE_ERROR], reason=bad.kind)
    if not isinstance(value, list):
        return _single(value)
    if not value:
        return _invalid("an empty batch")
    if len(value) > max_batch:
        return _invalid(f"a batch of more than {max_batch} elements")
    return Batch([_single(item) for item in value])


def _invalid(reason: str, id: Id = None, *, response: bool = False) -> Invalid:
    return Invalid(INVALID_REQUEST, MESSAGES[INVALID_REQUEST], id, reason, response)


def _single(value: Any) -> Single:
    if not isinstance(value, dict):
        return _invalid("not an object")  # a batch within a batch too
    call = "method" in value
    if wrong := _wrong(value) or (_wrong_call(value) if call else _wrong_response(value)):
        id = value.get("id")
        response = not call and ("result" in value or "error" in value)
        return _invalid(wrong, id if is_id(id) else None, response=response)
    return _call(value) if call else _response(value)


def _wrong(value: _Object) -> str | None:
    """What is wrong with the members that all messages have."""
    if value.get("jsonrpc") != "2.0":
        return 'jsonrpc is not "2.0"'
    if not is_id(value.get("id")):
        return "the id is neither string, number nor null"
    return None


def _wrong_call(value: _Object) -> str | None:
    if not isinstance(value["method"], str):
        return "the method is no string"
    # Section 4.2: "If present, parameters for the rpc call MUST be provided as a Structured value."
    if "params" in value and not isinstance(value["params"], (list, dict)):
        return "params is neither array nor object"
    if "result" in value or "error" in value:
        return "both a call and a response"
    return None


def _wrong_response(value: _Object) -> str | None:
    # Section 5: "Either the result member or error member MUST be included, but both members MUST NOT be included."
    if ("result" in value) == ("error" in value):
        return "both result and error" if "result" in value else "neither method, result nor error"
    if "id" not in value:
        return "a response without id"
    return _wrong_error(value["error"]) if "error" in value else None


def _wrong_error(error: Any) -> str | None:
    if not isinstance(error, dict):
        return "the error is no object"
    code = error.get("code")
    if not isinstance(code, int) or isinstance(code, bool):
        return "the error's code is no integer"
    if not isinstance(error.get("message"), str):
        return "the error's message is no string"
    return None


def _call(value: _Object) -> Request | Notification:
    # Section 4.1: "A Notification is a Request object without an "id" member": an id of null is an id.
    if "id" in value:
        return Request(value["method"], value.get("params"), value["id"])
    return Notification(value["method"], value.get("params"))


def _response(value: _Object) -> Success | Failure:
    if "result" in value:
        return Success(value["result"], value["id"])
    error = value["error"]
    return Failure(error["code"], error["message"], error.get("data"), value["id"])


# --- the way back ---


def encode(message: Message) -> bytes:
    """`message` as JSON on one line, without line end. An `Invalid` becomes the error that answers it.

    Raises LocalProtocolError for what is no message (an id of True, params that are no array or object, an empty
    batch, a batch within a batch) and for what JSON cannot carry (NaN, lone surrogates, other types).
    """
    if not isinstance(message, Batch):
        return _encoded(message)
    if not message.items:
        raise LocalProtocolError("a batch cannot be empty")
    return b"[" + b",".join(map(_encoded, message.items)) + b"]"


def _encoded(message: Single) -> bytes:
    value = {"jsonrpc": "2.0", **_members(message)}
    wrong = _wrong(value) or (_wrong_call(value) if "method" in value else _wrong_response(value))
    if wrong is not None:
        raise LocalProtocolError(f"no JSON-RPC message: {wrong}")
    return ndjson.encode(value)[:-1]


def _members(message: Single) -> _Object:
    if isinstance(message, (Request, Notification)):
        members: _Object = {"method": message.method}
        if message.params is not None:
            members["params"] = message.params
        if isinstance(message, Request):
            members["id"] = message.id
        return members
    if isinstance(message, Success):
        return {"result": message.result, "id": message.id}
    if isinstance(message, (Failure, Invalid)):
        error: _Object = {"code": message.code, "message": message.message}
        if isinstance(message, Failure) and message.data is not None:
            error["data"] = message.data
        return {"error": error, "id": message.id}
    raise LocalProtocolError(f"no JSON-RPC message: {type(message).__name__}")
