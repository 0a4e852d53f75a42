"""permessage-deflate (RFC 7692) in one direction: what a client compresses is unpacked, up to a bound.

We never compress: for deltas of a few bytes it costs more than it saves, and a compressor for each socket would hold
a quarter of a megabyte. An endpoint may leave any message as it is, so nothing is lost by agreeing to the extension.
Clients are told `client_no_context_takeover`: an unpacker then lives as long as its message.

The bound is on what comes out, counted while it comes: a thousandfold bomb is stopped at the first byte too many.
"""

from __future__ import annotations

import zlib

from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

__all__ = ["Inflate", "agree"]

NAME = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"  # RFC 7692, section 7.2.2: "Append 4 octets … to the tail end of the payload"
_FLAGS = ("client_no_context_takeover", "server_no_context_takeover")
_WINDOWS = ("client_max_window_bits", "server_max_window_bits")
_BITS = frozenset(map(str, range(8, 16)))


class Inflate(Extension):
    """What wsproto asks for each frame that comes in. A message over `limit` bytes ends the connection with 1009."""

    name = NAME

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Of each message from the next one on."""
        self._left = 0
        self._inflater: zlib._Decompress | None = None  # of the message under way, if it is compressed
        self._control = False  # whether the frame under way is a ping, say, in the midst of a message

    def enabled(self) -> bool:
        """It was agreed on, or it would not be here."""
        return True

    def offer(self) -> bool:
        """Only clients offer."""
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Whether a new message is compressed stands in its first frame, and nowhere else."""
        self._control = opcode.iscontrol()
        if self._control or opcode is Opcode.CONTINUATION:
            return CloseReason.PROTOCOL_ERROR if rsv.rsv1 else RsvBits(False, False, False)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if rsv.rsv1 else None
        self._left = self.limit
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """A piece of a frame, unpacked."""
        return data if self._control else self._unpack(data)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """What the end of a message still gives."""
        if self._control or not fin or self._inflater is None:
            return None
        rest = self._unpack(_TAIL)
        self._inflater = None
        return rest

    def _unpack(self, data: bytes) -> bytes | CloseReason:
        inflater = self._inflater
        if inflater is None:
            return data
        if inflater.eof:  # a final block has ended it: what still comes is padding, and zlib would pile it up
            return b""
        try:
            out = inflater.decompress(data, self._left + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        self._left -= len(out)
        return out if self._left >= 0 else CloseReason.MESSAGE_TOO_BIG


def agree(offers: str) -> str | None:
    """The answer to the first acceptable offer in a client's `Sec-WebSocket-Extensions`; None if there is none."""
    for offer in offers.split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == NAME and (answer := _answer(parameters)) is not None:
            return answer
    return None


def _answer(parameters: list[str]) -> str | None:
    """RFC 7692, section 7.1: an offer with a parameter that is unknown, repeated or malformed is to be declined."""
    said: dict[str, str] = {}
    for parameter in parameters:
        key, equals, value = (part.strip(' \t"') for part in parameter.partition("="))
        good = key in _WINDOWS and value in _BITS if equals else key in (*_FLAGS, _WINDOWS[0])
        if not good or key in said:
            return None
        said[key] = value
    answer = [NAME, _FLAGS[0]]
    if _FLAGS[1] in said:
        answer.append(_FLAGS[1])
    if _WINDOWS[1] in said:  # easily promised: nothing is compressed
        answer.append(f"{_WINDOWS[1]}={said[_WINDOWS[1]]}")
    return "; ".join(answer)
