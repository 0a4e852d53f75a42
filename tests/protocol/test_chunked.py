"""The chunked coding: bodies in any cut, strict about everything that smuggling uses."""

from __future__ import annotations

from typing import Any

import pytest

import feeding
from penstock.protocol import chunked
from penstock.protocol.errors import RemoteProtocolError

BODIES: dict[str, tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = {
    "two chunks": (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", []),
    "empty": (b"0\r\n\r\n", b"", []),
    "several zeros": (b"000\r\n\r\n", b"", []),
    "upper and lower case": (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, []),
    "leading zeros": (b"0000000000000003\r\nabc\r\n0\r\n\r\n", b"abc", []),
    "line ends in data": (b"4\r\n\r\n\r\n\r\n2\r\n0\r\r\n0\r\n\r\n", b"\r\n\r\n0\r", []),
    "extensions": (b'3;a;b=c;d="x y"\r\nabc\r\n0;last\r\n\r\n', b"abc", []),
    "bad white space before an extension": (b"3 \t;a\r\nabc\r\n0 ;b = c\r\n\r\n", b"abc", []),
    "obs-text in an extension": (b"3; \xff\t\r\nabc\r\n0\r\n\r\n", b"abc", []),
    "trailers": (b"1\r\na\r\n0\r\nX-Sum: 1 2 \r\nEmpty:\r\n\r\n", b"a", [(b"X-Sum", b"1 2"), (b"Empty", b"")]),
    "long": (b"190\r\n" + b"x" * 400 + b"\r\n0\r\n\r\n", b"x" * 400, []),
}


@pytest.mark.parametrize("unused", [b"", b"GET / HTTP/1.1\r\n", b"0\r\n\r\n"])
@pytest.mark.parametrize(("data", "body", "trailers"), BODIES.values(), ids=BODIES)
def test_bodies_in_any_cut(data: bytes, body: bytes, trailers: list[tuple[bytes, bytes]], unused: bytes) -> None:
    for chunks in feeding.cuts(data + unused):
        decoder = chunked.Decoder()
        assert feeding.outcome(decoder, chunks, joined=True) == (body, None)
        assert decoder.done
        assert decoder.trailers == trailers
        assert decoder.unused == unused


# The bytes, the body before the fault, its kind, and where the first offending byte is.
BAD: dict[str, tuple[bytes, bytes, str, int]] = {
    "no size": (b"\r\nabc", b"", "bad_chunk_size", 0),
    "only an extension": (b";a=b\r\nabc", b"", "bad_chunk_size", 0),
    "plus": (b"+5\r\nhello\r\n", b"", "bad_chunk_size", 0),
    "minus": (b"-5\r\nhello\r\n", b"", "bad_chunk_size", 0),
    "0x": (b"0x5\r\nhello\r\n", b"", "bad_chunk_size", 1),
    "underscore": (b"1_0\r\n", b"", "bad_chunk_size", 1),
    "space before": (b" 5\r\nhello\r\n", b"", "bad_chunk_size", 0),
    "space after": (b"5 \r\nhello\r\n", b"", "bad_chunk_size", 2),
    "tab and digits after": (b"5\t5;a\r\nhello\r\n", b"", "bad_chunk_size", 2),
    "NUL": (b"5\0\r\nhello\r\n", b"", "bad_chunk_size", 1),
    "digits of another script": ("٥\r\n".encode(), b"", "bad_chunk_size", 0),
    "17 digits": (b"00000000000000005\r\nhello", b"", "bad_chunk_size", 16),
    "bare LF after the size": (b"5\nhello\r\n", b"", "bad_chunk_size", 1),
    "bare CR after the size": (b"5\rhello\r\n", b"", "bad_chunk_line", 2),
    "two CR": (b"5\r\r\nhello\r\n", b"", "bad_chunk_line", 2),
    "bare LF in an extension": (b"5;a\nhello\r\n", b"", "bad_chunk_extension", 3),
    "control character in an extension": (b"5;a\x01\r\n", b"", "bad_chunk_extension", 3),
    "DEL in an extension": (b"5;\x7f\r\n", b"", "bad_chunk_extension", 2),
    "data too long": (b"5\r\nhello!\r\n", b"hello", "bad_chunk_end", 8),
    "data without end": (b"5\r\nhello5\r\n", b"hello", "bad_chunk_end", 8),
    "bare LF after data": (b"5\r\nhello\n0\r\n\r\n", b"hello", "bad_chunk_end", 8),
    "bare CR after data": (b"5\r\nhello\r0\r\n\r\n", b"hello", "bad_chunk_end", 9),
    "the second chunk": (b"1\r\na\r\nx\r\n", b"a", "bad_chunk_size", 6),
    "LF for the last line": (b"0\r\n\n", b"", "bad_trailer", 3),
    "CR for the last line": (b"0\r\n\rx", b"", "bad_trailer", 4),
    "trailer without colon": (b"0\r\nabc\r\n\r\n", b"", "bad_trailer", 6),
    "trailer without name": (b"0\r\n: a\r\n\r\n", b"", "bad_trailer", 3),
    "space before the colon": (b"0\r\na : b\r\n\r\n", b"", "bad_trailer", 4),
    "folded trailer": (b"0\r\na: b\r\n c\r\n\r\n", b"", "bad_trailer", 9),
    "NUL in a trailer": (b"0\r\na: \0\r\n\r\n", b"", "bad_trailer", 6),
    "bare LF after a trailer": (b"0\r\na: b\n\r\n", b"", "bad_trailer", 7),
    "bare CR after a trailer": (b"0\r\na: b\rc: d\r\n\r\n", b"", "bad_trailer", 8),
}


@pytest.mark.parametrize(("data", "body", "kind", "offset"), BAD.values(), ids=BAD)
def test_whatever_could_be_read_in_two_ways_is_refused(data: bytes, body: bytes, kind: str, offset: int) -> None:
    found = feeding.same_for_every_cut(chunked.Decoder, data, joined=True)
    assert found == (body, (kind, offset))


@pytest.mark.parametrize(("data", "body", "kind", "offset"), BAD.values(), ids=BAD)
def test_a_fault_comes_with_the_first_offending_byte(data: bytes, body: bytes, kind: str, offset: int) -> None:
    decoder = chunked.Decoder()
    for byte in feeding.bytewise(data[:offset]):
        decoder.feed(byte)
    assert decoder.fault is None
    with pytest.raises(RemoteProtocolError):
        decoder.feed(data[offset : offset + 1])


@pytest.mark.parametrize(("data", "body", "trailers"), BODIES.values(), ids=BODIES)
def test_an_early_end_is_a_fault(data: bytes, body: bytes, trailers: list[Any]) -> None:
    for end in range(len(data)):
        decoder = chunked.Decoder()
        pieces = decoder.feed(data[:end])
        assert body.startswith(b"".join(pieces))
        assert not decoder.done
        with pytest.raises(RemoteProtocolError) as raised:
            decoder.close()
        assert (raised.value.kind, raised.value.offset) == ("incomplete_body", end)
        assert decoder.close() == []


def test_limits_do_not_depend_on_the_cut() -> None:
    def limited() -> chunked.Decoder:
        return chunked.Decoder(max_chunk_line=8, max_trailer_bytes=12)

    fits = b"3;abcd\r\nxyz\r\n000003\r\nxyz\r\n0\r\nab: 123\r\n"
    assert feeding.same_for_every_cut(limited, fits + b"\r\n", joined=True) == (b"xyzxyz", None)
    for data, body, kind, offset in [
        (b"3;abcde\r\nxyz\r\n", b"", "chunk_line_too_long", 8),
        (b"0000003\r\nxyz\r\n", b"", "chunk_line_too_long", 8),
        (b"3\r\nxyz\r\n0000003\r\n", b"xyz", "chunk_line_too_long", 16),
        (b"3;" + b"a" * 100, b"", "chunk_line_too_long", 8),
        (b"0;" + b"a" * 5 + b"\0", b"", "bad_chunk_extension", 7),
        (b"0\r\nab: 12345\r\n\r\n", b"", "trailers_too_large", 15),
        (b"0\r\na: 1\r\nb: 1\r\n\r\n", b"", "trailers_too_large", 15),
        (b"0\r\n" + b"a" * 100, b"", "trailers_too_large", 15),
    ]:
        assert feeding.same_for_every_cut(limited, data, joined=True) == (body, (kind, offset)), data


def test_a_long_line_beats_many_digits_if_it_comes_first() -> None:
    found = feeding.same_for_every_cut(lambda: chunked.Decoder(max_chunk_line=10), b"0" * 30)
    assert found.fault == ("chunk_line_too_long", 10)


def test_pieces_come_as_they_come() -> None:
    decoder = chunked.Decoder()
    assert decoder.feed(b"3\r\nabc\r\n2\r\nde\r\n4\r\nf") == [b"abc", b"de", b"f"]
    assert decoder.feed(b"g") == [b"g"]
    assert decoder.feed(b"hi\r\n0\r\n") == [b"hi"]
    assert not decoder.done
    assert decoder.feed(b"\r\nmore") == []
    assert decoder.done
    assert decoder.feed(b"!") == []
    assert decoder.unused == b"more!"
    assert decoder.close() == []


def test_a_large_size_is_only_a_number() -> None:
    decoder = chunked.Decoder()
    assert decoder.feed(b"ffffffffffffffff\r\nabc") == [b"abc"]
    assert decoder.feed(b"x" * 1000) == [b"x" * 1000]


def test_an_extension_is_not_kept() -> None:
    decoder = chunked.Decoder(max_chunk_line=100_000)
    decoder.feed(b"3;")
    for _ in range(100):
        decoder.feed(b"x" * 100)
        assert len(decoder._text) <= 1
    assert decoder.feed(b"\r\nabc\r\n0\r\n\r\n") == [b"abc"]


@pytest.mark.parametrize("pieces", [[b"hello"], [b"a", b"", b"b" * 300], []])
def test_encode_then_decode_is_the_identity(pieces: list[bytes]) -> None:
    data = b"".join(map(chunked.encode, pieces)) + chunked.LAST
    assert feeding.same_for_every_cut(chunked.Decoder, data, joined=True) == (b"".join(pieces), None)


def test_encode_never_ends_the_body() -> None:
    assert chunked.encode(b"") == b""
    assert chunked.encode(bytearray(b"x" * 26)) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunked.encode(memoryview(b"a")) == b"1\r\na\r\n"
