"""From an origin to a connection that bytes can be sent on: name lookup, TCP, TLS.

The addresses of a name are tried by trio's happy eyeballs (RFC 6555): one after the other, a quarter of a
second apart, the first to answer wins. An address is connected to directly. Nagle's algorithm is off: a
request is one write, and must not wait for anything.

Whatever goes wrong is an UpstreamError with `sent` False, since no byte of a request has gone anywhere yet.
Its message names no address; the operator finds the details in its cause.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl

import trio

from .stream import ByteStream, SocketStream, StreamBroken, no_delay
from .tls import client_context, start_tls
from .transport import ErrorKind, Origin, UpstreamError

__all__ = ["Connector", "connect_error", "tls_error"]

_MESSAGES: dict[ErrorKind, str] = {
    "dns": "the upstream's name cannot be resolved",
    "refused": "the upstream refuses connections",
    "unreachable": "the upstream cannot be reached",
    "reset": "the upstream broke the connection while it was being made",
}


class Connector:
    """Makes connections to one origin; `tls` is whom an `https` one trusts (None: the system's list)."""

    __slots__ = ("_family", "_origin", "_tls")

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None = None) -> None:
        self._origin = origin
        self._family = _family(origin.host)
        self._tls = tls

    async def __call__(self) -> ByteStream:
        """A new connection. Raises UpstreamError; cancelled, it leaves no socket open."""
        scheme, host, port = self._origin
        try:
            plain = await (_connect(self._family, host, port) if self._family else _look_up_and_connect(host, port))
        except UnicodeError as exc:  # a name that IDNA cannot encode
            raise UpstreamError("dns", _MESSAGES["dns"], sent=False) from exc
        except OSError as exc:
            raise connect_error(exc) from exc
        stream = SocketStream(plain)
        try:
            no_delay(plain)
        except OSError as exc:  # it was reset in the meantime
            stream.close()
            raise connect_error(exc) from exc
        return stream if scheme == "http" else await self._encrypted(stream)

    async def _encrypted(self, stream: SocketStream) -> ByteStream:
        try:
            if self._tls is None:
                self._tls = await trio.to_thread.run_sync(client_context)  # reads files, the first time
            return await start_tls(stream, self._tls, server_name=self._origin.host)
        except ssl.SSLError as exc:
            stream.close()
            raise tls_error(exc) from exc
        except StreamBroken as exc:
            raise UpstreamError("reset", _MESSAGES["reset"], sent=False) from exc
        except BaseException:
            stream.close()
            raise


def _family(host: str) -> socket.AddressFamily | None:
    """The kind of address that `host` is; None if it is a name, or an address that needs looking up."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return None if address.scope_id else socket.AF_INET6
    return socket.AF_INET


async def _look_up_and_connect(host: str, port: int) -> socket.socket:
    # What trio makes is a trio socket; the plain one inside is all that is wanted of it.
    opened = (await trio.open_tcp_stream(host, port)).socket
    return socket.socket(opened.family, opened.type, opened.proto, opened.detach())


async def _connect(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """To an address there is nothing to look up, and no other to try meanwhile: a quarter of trio's cost."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        code = sock.connect_ex((host, port))
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def connect_error(exc: OSError) -> UpstreamError:
    """What a failure to connect means. Several addresses may have failed in several ways: the one that
    shows a living machine counts."""
    kind: ErrorKind = "unreachable"
    if isinstance(exc, socket.gaierror):
        kind = "dns"
    elif any(each.errno == errno.ECONNREFUSED for each in _leaves(exc)):
        kind = "refused"
    return UpstreamError(kind, _MESSAGES[kind], sent=False)


def tls_error(exc: ssl.SSLError) -> UpstreamError:
    """What a failed handshake means, in OpenSSL's words without the place in its source."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        reason = f"its certificate is not accepted: {exc.verify_message}"
    else:
        reason = (exc.reason or "no reason given").replace("_", " ").lower()
    return UpstreamError("tls", f"no TLS connection to the upstream: {reason}", sent=False)


def _leaves(exc: BaseException | None) -> list[OSError]:
    """The errors of the single attempts, which trio keeps in a group as the cause."""
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for each in exc.exceptions for leaf in _leaves(each)]
    if isinstance(exc, OSError):
        return [exc] if exc.errno is not None else _leaves(exc.__cause__)
    return []
