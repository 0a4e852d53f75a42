"""What of an upstream's answer reaches the client besides its body: its errors, and a few of its headers."""

from __future__ import annotations

import trio

from ..protocol.chat import Failed
from ..protocol.dialects import failures
from ..providers.headers import HeaderPolicy
from ..providers.transport import UpstreamError, UpstreamResponse
from .http import Headers

__all__ = ["ERROR_BYTES", "kept_headers", "read_error"]

ERROR_BYTES = 65536
"""How much of an error body is read: any JSON error fits, and an endless page of HTML is cut."""

ERROR_SECONDS = 5.0
"""How long an error's body is waited for: its status is known, and the client waits."""


def kept_headers(response: UpstreamResponse, policy: HeaderPolicy) -> Headers:
    """The upstream's headers that the client gets to see."""
    return [*(policy.passed(response.headers) | policy.added).items()]


async def read_error(response: UpstreamResponse) -> Failed:
    """Read an answer that is not 200 and say what it means. Never raises for what the upstream sent."""
    body = bytearray()
    try:
        with trio.move_on_after(ERROR_SECONDS):
            while len(body) < ERROR_BYTES and (piece := await response.receive()):
                body += piece
            response.finish()
    except UpstreamError:
        pass  # what came of the body is all there is; the status says the rest
    return failures.decode_error(response.status, response.headers, bytes(body[:ERROR_BYTES]))
