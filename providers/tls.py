"""TLS over any byte stream, by the standard library's engine, which does no I/O of its own.

trio has an `SSLStream`; this one exists because a gateway needs three things of TLS that it does not offer:
a look without waiting (is an idle connection still good? has the end of the last body come?), a close that
is done when the call returns, and a received token that costs no lock and no second turn of the scheduler.

Bytes are encrypted a record at a time. A record that the socket does not take whole is kept and counted as
sent only when its last byte has gone, so that at most one record waits here, and the caller's back-pressure
is the socket's. A connection that ends without TLS's own closure alert is broken, not ended: RFC 9112
section 9.8, "complete only if a valid closure alert has been received". Bodies that say their length do not
depend on it.
"""

from __future__ import annotations

import functools
import os
import ssl

from .stream import READ_SIZE, ByteStream, StreamBroken

__all__ = ["TlsStream", "client_context", "start_tls"]

_RECORD = 16384  # RFC 8446 section 5.1: a record carries at most 2^14 bytes


@functools.lru_cache(maxsize=32)
def client_context(ca_file: str | None = None, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """What a client trusts: the authorities of `ca_file` alone, or the system's.

    Reads files, for some 20 ms, and is the same object for the same arguments. Raises OSError (and
    ssl.SSLError, which is one) for a file that cannot be read or holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None and not _system_has_authorities():
        import certifi  # comes with httpx; asked only on systems that have no list of their own

        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(list(alpn))
    return context


def _system_has_authorities() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and any(os.scandir(paths.capath))))


async def start_tls(
    beneath: ByteStream, context: ssl.SSLContext, *, server_name: str | None = None, server_side: bool = False
) -> TlsStream:
    """Shake hands over `beneath`, and return the stream that speaks TLS over it.

    A client names the server, whose certificate must be for that name. Raises ssl.SSLError if the
    handshake fails, StreamBroken if the connection does; whatever is raised, `beneath` is closed.
    """
    stream = TlsStream(beneath, context, server_name=server_name, server_side=server_side)
    try:
        await stream.handshake()
    except BaseException:
        beneath.close()
        raise
    return stream


class TlsStream(ByteStream):
    """A TLS connection over `beneath`, which it owns. `handshake` comes before anything else."""

    __slots__ = ("_beneath", "_flying", "_incoming", "_outgoing", "_tls", "_unsent")

    def __init__(
        self,
        beneath: ByteStream,
        context: ssl.SSLContext,
        *,
        server_name: str | None = None,
        server_side: bool = False,
    ) -> None:
        self._beneath = beneath
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name
        )
        self._unsent = b""
        self._flying = 0  # how many of the caller's bytes are in `_unsent`

    async def handshake(self) -> None:
        """Agree on keys, and check the peer's certificate as the context demands."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._beneath.send_all(self._outgoing.read())
                self._take_in(await self._beneath.receive())
            except ssl.SSLError:
                self._say_last()  # the alert that tells the peer why
                raise
            else:
                break
        if self._tls.server_side:
            # Only session tickets are left to say, and a client that does not read yet must not hold us up.
            self._answer()
        else:
            await self._beneath.send_all(self._outgoing.read())

    async def receive(self, max_bytes: int = READ_SIZE) -> bytes:
        while (data := self._decrypted(max_bytes)) is None:
            self._take_in(await self._beneath.receive())
        return data

    def receive_now(self, max_bytes: int = READ_SIZE) -> bytes | None:
        while (data := self._decrypted(max_bytes)) is None:
            raw = self._beneath.receive_now()
            if raw is None:
                return None
            self._take_in(raw)
        return data

    def send_now(self, data: bytes | memoryview) -> int:
        sent = 0
        while True:
            if self._unsent:
                self._unsent = self._unsent[self._beneath.send_now(self._unsent) :]
                if self._unsent:
                    return sent
            sent += self._flying
            self._flying = 0
            if sent >= len(data):
                return sent
            self._encrypt(memoryview(data)[sent : sent + _RECORD])

    async def send_some(self, data: bytes | memoryview) -> int:
        while not (sent := self.send_now(data)):
            taken = await self._beneath.send_some(self._unsent)
            self._unsent = self._unsent[taken:]  # read anew: a receiving task may have added to it meanwhile
        return sent

    def idle_and_open(self) -> bool:
        # Not the socket's word: session tickets come unasked, and mean nothing to the caller.
        try:
            return self.receive_now(1) is None
        except StreamBroken:
            return False

    def end_sending(self) -> None:
        self._say_goodbye()
        self._beneath.end_sending()

    def close(self) -> None:
        self._say_goodbye()
        self._beneath.close()

    def _say_goodbye(self) -> None:
        if not self._unsent:  # between two records, so that an alert can be read
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass  # it wants to wait for the peer's alert, as expected; or there never was a session
            self._say_last()

    def _decrypted(self, max_bytes: int) -> bytes | None:
        """What can be had from the bytes at hand: all their records, `b""` at the end, None if too few."""
        pieces: list[bytes] = []
        room = max_bytes
        try:
            while room > 0:
                piece = self._tls.read(room)
                if not piece:
                    break
                pieces.append(piece)
                room -= len(piece)
                if not self._incoming.pending and not self._tls.pending():
                    break
        except ssl.SSLWantReadError:
            if not pieces:
                self._answer()
                return None
        except ssl.SSLZeroReturnError:
            pass
        except (ssl.SSLError, ValueError) as exc:
            # Pieces before a fault are good, and the engine says the same again at the next call.
            if not pieces:
                raise StreamBroken(_reason(exc)) from exc
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_in(self, raw: bytes) -> None:
        if raw:
            self._incoming.write(raw)
        else:
            self._incoming.write_eof()

    def _encrypt(self, part: memoryview) -> None:
        try:
            self._flying = self._tls.write(part)
        except (ssl.SSLError, ValueError) as exc:
            raise StreamBroken(_reason(exc)) from exc
        self._unsent += self._outgoing.read()

    def _answer(self) -> None:
        """Send what the engine says by itself (a ticket, a key update), now or with the next send."""
        if self._outgoing.pending:
            said = self._outgoing.read()
            self._unsent += said if self._unsent else said[self._beneath.send_now(said) :]

    def _say_last(self) -> None:
        try:
            self._beneath.send_now(self._outgoing.read())
        except StreamBroken:
            pass


def _reason(exc: Exception) -> str:
    return getattr(exc, "reason", None) or str(exc)
