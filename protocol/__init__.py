"""The protocol core: bytes to frames to events and back, for any runtime.

Nothing here does I/O, reads a clock or needs anything but the standard library. Framing is in `utf8`,
`chunked`, `head`, `sse`, `ndjson` and `detect`; each decoder has `feed` and `close`, whose laws are in
`machine`. The events of a chat stream are in `chat`, the ways to write them in `dialects`; `relay` takes an answer
from one dialect to another, `members` reads and splices a request body. JSON-RPC, its connection and framings are
in `jsonrpc`.
"""

from . import chat, chunked, detect, head, jsonrpc, ndjson, sse, utf8
from .errors import LimitExceeded, LocalProtocolError, ProtocolError, RemoteProtocolError

__all__ = [
    "LimitExceeded",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "chat",
    "chunked",
    "detect",
    "head",
    "jsonrpc",
    "ndjson",
    "sse",
    "utf8",
]
