"""Sockets that are listened on, and the loop that accepts from them.

Accepting and serving have separate scopes, so that no new work can be taken while what is under way goes
on. A full descriptor table is not the end: the loop waits a moment and tries again. A client over the
limit of connections is told so with a 503, but only so many at a time: in a flood the rest is just closed.
A bug in one connection ends that connection.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl

import trio

from ..providers.stream import ByteStream, SocketStream, StreamBroken, no_delay
from ..providers.tls import start_tls
from .config import StartError
from .connection import Connection
from .gateway import Gateway

__all__ = ["accept_loop", "open_sockets", "tls_context"]

log = logging.getLogger("penstock")

BACKLOG = 2048
"""Connections that the kernel keeps for us while the loop is busy; it caps this at its own maximum."""

# accept(2): errors of the connection, not of the listener; and those of a process or system out of resources.
_PASSING = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH}
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
BACK_OFF = 0.1

FAREWELLS = 64
"""Clients over the limit of connections that may be told so at the same time."""


def open_sockets(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that `host` stands for. Raises StartError in one plain sentence."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as exc:  # the latter for a name with a label that no name can have
        raise StartError(f"Cannot listen on '{host}': there is no such address.") from exc
    sockets: list[socket.socket] = []
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        if sockets and port == 0:  # one free port for all addresses
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_listen(family, address))
        except OSError as exc:
            if sockets and exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # a machine without IPv6
            for sock in sockets:
                sock.close()
            raise StartError(_why(host, port, exc)) from exc
    return sockets


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _why(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use: stop the other program, or choose another with --port."
    if exc.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} on {host} may not be opened by this user: ports below 1024 need rights."
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"'{host}' is not an address of this machine."
    return f"Cannot listen on {host}, port {port}: {exc.strerror}."


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """TLS for the listener, from a certificate chain and its key. Raises StartError in one plain sentence."""
    for path in (cert, key):
        try:
            with open(path, "rb"):
                pass
        except OSError as exc:
            raise StartError(f"Cannot read '{path}': {exc.strerror}.") from exc
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise StartError(f"The key in '{key}' does not belong to the certificate in '{cert}'.") from exc
        raise StartError(f"'{cert}' and '{key}' are not a certificate and its unencrypted key in PEM form.") from exc
    return context


def _no_password() -> str:
    return ""  # without this, OpenSSL would ask on the terminal


async def accept_loop(
    gateway: Gateway, listener: socket.socket, tls: ssl.SSLContext | None, nursery: trio.Nursery
) -> None:
    """Accept for ever, a task in `nursery` for each connection."""
    farewells = trio.Semaphore(FAREWELLS)
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            sock, address = listener.accept()
        except BlockingIOError:
            continue
        except OSError as exc:
            if exc.errno in _EXHAUSTED:
                log.warning("out of descriptors or memory for new connections: %s", exc.strerror)
                await trio.sleep(BACK_OFF)
            elif exc.errno not in _PASSING:
                raise
            continue
        nursery.start_soon(_serve, gateway, sock, str(address[0]), tls, farewells)


async def _serve(
    gateway: Gateway, sock: socket.socket, peer: str, tls: ssl.SSLContext | None, farewells: trio.Semaphore
) -> None:
    stream: ByteStream = SocketStream(sock)
    try:
        no_delay(sock)
        if gateway.connections >= gateway.config.limits.connections:
            await _turn_away(gateway, stream, peer, farewells, encrypted=tls is not None)
            return
        if tls is not None:
            stream = await _start_tls(gateway, stream, tls)
            gateway.connections -= 1  # the connection counts itself
        await Connection(gateway, stream, peer).serve()
    except (OSError, StreamBroken, trio.TooSlowError) as exc:
        log.debug("no connection with %s: %s", peer, exc)  # a failed handshake, or gone before it began
    except Exception:
        log.exception("bug in a connection with %s", peer)
    finally:
        stream.close()


async def _start_tls(gateway: Gateway, stream: ByteStream, tls: ssl.SSLContext) -> ByteStream:
    gateway.connections += 1  # whoever does not get done with the handshake is connected all the same
    try:
        with trio.fail_after(gateway.config.timeouts.header or float("inf")):
            return await start_tls(stream, tls, server_side=True)
    except BaseException:
        gateway.connections -= 1
        gateway.note_change()
        raise


async def _turn_away(
    gateway: Gateway, stream: ByteStream, peer: str, farewells: trio.Semaphore, *, encrypted: bool
) -> None:
    try:
        farewells.acquire_nowait()
    except trio.WouldBlock:
        return
    try:
        if not encrypted:  # a handshake is too much work for a client that is not served
            await Connection(gateway, stream, peer).turn_away()
    finally:
        farewells.release()
