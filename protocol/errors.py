"""What can go wrong, and whose fault it is.

ProtocolError
├── LocalProtocolError        the caller broke the rules: a bug on our side of the wire
└── RemoteProtocolError       the peer broke the rules: it knows where (`offset`) and what (`kind`)
    └── LimitExceeded         the peer sent more of something than it may
"""

__all__ = ["LimitExceeded", "LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ProtocolError(Exception):
    """Base of all errors that `penstock.protocol` raises on purpose."""


class LocalProtocolError(ProtocolError):
    """The caller broke the rules: fed a closed machine, or asked to encode what a format cannot carry."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules.

    `kind` is a short fixed word (stable, fit for a metric label); `offset` is the first offending byte,
    counted from the start of the stream. `status` is the HTTP status that answers it, where a peer's
    request is at fault.
    """

    def __init__(self, message: str, *, kind: str, offset: int = 0, status: int = 400) -> None:
        super().__init__(message)
        self.kind = kind
        self.offset = offset
        self.status = status


class LimitExceeded(RemoteProtocolError):
    """The peer sent more than a limit allows; `limit` is the limit's value."""

    def __init__(self, message: str, *, kind: str, limit: int, offset: int = 0, status: int = 413) -> None:
        super().__init__(message, kind=kind, offset=offset, status=status)
        self.limit = limit
