"""JSON-RPC 2.0 to the letter, for both roles, over any transport.

`messages` are what goes over the wire, `decode` and `encode` make them of bytes and back, `Connection` keeps the
ids in flight and answers what is no valid request. Cancellation and progress, which the 2.0 text leaves to
others, are in `conventions`.

A transport delivers one message at a time, and there are three usual framings:

- WebSocket: one message is one text message; `Connection.receive` takes its str as it is.
- NDJSON, as MCP's stdio has it: `ndjson.Lines` gives the messages, and what `data_to_send` returns becomes a line
  by adding `b"\\n"`, for an encoded message holds no line end of any kind.
- Content-Length, as LSP has it: `ContentLengthDecoder` and `encode_content_length`.
"""

from .codec import decode, encode
from .connection import Connection
from .content_length import ContentLengthDecoder, encode_content_length
from .conventions import Cancel, Progress, recognise
from .messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MESSAGES,
    METHOD_NOT_FOUND,
    OVERLOADED,
    PARSE_ERROR,
    REQUEST_CANCELLED,
    Batch,
    Failure,
    Id,
    Invalid,
    Message,
    Notification,
    Params,
    Request,
    Single,
    Success,
)

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
    "Cancel",
    "Connection",
    "ContentLengthDecoder",
    "Failure",
    "Id",
    "Invalid",
    "Message",
    "Notification",
    "Params",
    "Progress",
    "Request",
    "Single",
    "Success",
    "decode",
    "encode",
    "encode_content_length",
    "recognise",
]
