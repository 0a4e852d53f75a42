"""The opening handshake (RFC 6455, section 4), and the key that comes with it.

The request was read and judged as any other by then: its head by the core, its Host, Origin and method by `routes`.
What is refused here is refused by an ordinary HTTP error, since nothing else can be read by whoever asks.

A key comes in a header; or, for browsers, whose WebSocket sends none of their own, in the sub-protocol
`bearer.<key in base64url>`, which is not repeated in the answer; or else later, in `initialize`. Never in the URL,
which ends up in logs.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

from wsproto.utilities import generate_accept_token

from .. import refusal
from ..access import KEY_HEADERS
from . import deflate

if TYPE_CHECKING:
    from ..gateway import Gateway
    from ..http import Headers, Refusal, Request

__all__ = ["PROTOCOL", "Handshake", "bearer", "shake_hands"]

PROTOCOL = "llm.rpc.v1"
VERSION = "13"
_BEARER = "bearer."
_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64
_WORDS = re.compile(r"[^\s,]+")


class Handshake(NamedTuple):
    """What was agreed on: headers for the answer, what was shown as a key, and whether messages may be compressed."""

    headers: Headers
    shown: dict[str, str]
    compressed: bool


def shake_hands(gateway: Gateway, request: Request) -> Handshake:
    """Judge a request to upgrade. Raises Refusal."""
    _check_asked_for(request)
    _check_origin(gateway, request)
    key = request.header("sec-websocket-key") or ""
    if not _KEY.fullmatch(key):
        raise refusal.bad_request("Sec-WebSocket-Key must be 16 bytes in base64.", "bad_handshake")
    offered = _WORDS.findall(request.header("sec-websocket-protocol") or "")
    extension = deflate.agree(request.header("sec-websocket-extensions") or "")
    headers = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", generate_accept_token(key.encode()).decode()),
    ]
    if PROTOCOL in offered:
        headers.append(("sec-websocket-protocol", PROTOCOL))
    if extension is not None:
        headers.append(("sec-websocket-extensions", extension))
    return Handshake(headers, request.chosen(KEY_HEADERS) or _in_protocols(offered), extension is not None)


def bearer(token: str) -> dict[str, str]:
    """The header in which this key would have come."""
    return {"authorization": f"Bearer {token}"}


def _check_asked_for(request: Request) -> None:
    """RFC 9110, section 15.5.22: 426 refuses "to perform the request using the current protocol"."""
    connection = _WORDS.findall((request.header("connection") or "").lower())
    upgrade = _WORDS.findall((request.header("upgrade") or "").lower())
    if request.method != "GET" or request.http10 or "upgrade" not in connection or "websocket" not in upgrade:
        raise _use_websocket("This address speaks WebSocket: ask for it with 'Upgrade: websocket'.")
    if (request.header("sec-websocket-version") or "").strip() != VERSION:
        raise _use_websocket(f"Sec-WebSocket-Version must be {VERSION}.")


def _use_websocket(message: str) -> Refusal:
    refused = refusal.plain(426, message)
    refused.headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", VERSION)]
    return refused


def _check_origin(gateway: Gateway, request: Request) -> None:
    """Pages of other sites may not come in, also where there are keys.

    A browser asks no permission before it opens a WebSocket, and hides nothing of it from the page. What CORS does for
    other requests has to be done here.
    """
    origin = request.header("origin")
    if (
        origin is None
        or gateway.access.allows_page(request.header("host"), origin)
        or gateway.gate.allows_origin(origin)
    ):
        return
    raise refusal.forbidden("Pages of this Origin may not open a WebSocket here. Add it to server.allowed_origins.")


def _in_protocols(offered: list[str]) -> dict[str, str]:
    for word in offered:
        if word.startswith(_BEARER):
            coded = word.removeprefix(_BEARER)
            try:
                return bearer(base64.b64decode(coded + "=" * (-len(coded) % 4), b"-_", validate=True).decode())
            except (binascii.Error, UnicodeDecodeError):
                return bearer(coded)  # no key of ours, and shown all the same
    return {}
