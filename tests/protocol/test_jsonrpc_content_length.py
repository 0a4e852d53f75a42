"""Content-Length framing: bodies in any cut, whatever the header's order and case, and strict about the rest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import feeding
from penstock.protocol.errors import LimitExceeded, LocalProtocolError
from penstock.protocol.jsonrpc import ContentLengthDecoder, encode_content_length

STREAMS: dict[str, tuple[bytes, list[bytes]]] = {
    "one": (b"Content-Length: 2\r\n\r\n{}", [b"{}"]),
    "two": (b"Content-Length: 2\r\n\r\n{}Content-Length: 3\r\n\r\n[1]", [b"{}", b"[1]"]),
    "nothing": (b"", []),
    "an empty body": (b"Content-Length: 0\r\n\r\nContent-Length: 1\r\n\r\n1", [b"", b"1"]),
    "any case": (b"cOnTeNt-LENGTH: 2\r\n\r\n{}", [b"{}"]),
    "no white space": (b"Content-Length:2\r\n\r\n{}", [b"{}"]),
    "much white space": (b"Content-Length: \t 2 \t\r\n\r\n{}", [b"{}"]),
    "leading zeros": (b"Content-Length: 0000000000000000000000002\r\n\r\n{}", [b"{}"]),
    "type after": (
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n{}",
        [b"{}"],
    ),
    "type before": (b"content-type: application/json;CHARSET=utf8\r\ncontent-length: 2\r\n\r\n{}", [b"{}"]),
    "quoted charset": (b'Content-Type: a/b; charset="UTF-8"; c=d\r\nContent-Length: 2\r\n\r\n{}', [b"{}"]),
    "no charset": (b"Content-Type: a/b\r\nContent-Length: 2\r\n\r\n{}", [b"{}"]),
    "other headers": (b"X-Trace: \xd0\xb6 a:b\r\nContent-Length: 2\r\nEmpty:\r\n\r\n{}", [b"{}"]),
    "the body looks like a header": (b"Content-Length: 8\r\n\r\na: b\r\n\r\n", [b"a: b\r\n\r\n"]),
    "length counts bytes": ("Content-Length: 4\r\n\r\n\u0436\u0435".encode(), ["\u0436\u0435".encode()]),
    "long": (b"Content-Length: 500\r\n\r\n" + b"x" * 500, [b"x" * 500]),
}


@pytest.mark.parametrize(("data", "bodies"), STREAMS.values(), ids=STREAMS)
def test_bodies_in_any_cut(data: bytes, bodies: list[bytes]) -> None:
    assert feeding.same_for_every_cut(ContentLengthDecoder, data) == (bodies or None, None)


GOOD = b"Content-Length: 2\r\n\r\n{}"

# The bytes after a good message, the fault's kind, and where after that message it is.
BAD: dict[str, tuple[bytes, str, int]] = {
    "no length": (b"X: 1\r\n\r\n{}", "missing_content_length", 6),
    "an empty line": (b"\r\n", "missing_content_length", 0),
    "two lengths that agree": (b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "bad_content_length", 19),
    "two lengths that differ": (b"Content-Length: 2\r\ncontent-length: 3\r\n\r\n{}", "bad_content_length", 19),
    "a list of lengths": (b"Content-Length: 2, 2\r\n\r\n{}", "bad_content_length", 15),
    "plus": (b"Content-Length: +2\r\n\r\n{}", "bad_content_length", 15),
    "minus": (b"Content-Length: -2\r\n\r\n{}", "bad_content_length", 15),
    "underscore": (b"Content-Length: 1_0\r\n\r\n{}", "bad_content_length", 15),
    "hexadecimal": (b"Content-Length: 0x2\r\n\r\n{}", "bad_content_length", 15),
    "fraction": (b"Content-Length: 2.0\r\n\r\n{}", "bad_content_length", 15),
    "no digits": (b"Content-Length: \r\n\r\n{}", "bad_content_length", 15),
    "digits of another script": ("Content-Length: ٢\r\n\r\n{}".encode(), "bad_content_length", 15),
    "superscript": ("Content-Length: \u00b2\r\n\r\n{}".encode(), "bad_content_length", 15),
    "another charset": (b"Content-Type: a/b; charset=utf-16\r\n", "bad_content_type", 13),
    "no charset's name": (b"Content-Type: a/b; charset=\r\n", "bad_content_type", 13),
    "bare LF": (b"Content-Length: 2\n\n{}", "bad_header", 17),
    "bare CR": (b"Content-Length: 2\r\rX: 1\r\n", "bad_header", 17),
    "an LF line": (b"\n", "bad_header", 0),
    "another framing": (b'{"jsonrpc":"2.0"}\n', "bad_header", 0),
    "no colon": (b"Content-Length 2\r\n", "bad_header", 14),
    "no name": (b": 2\r\n", "bad_header", 0),
    "space before the colon": (b"Content-Length : 2\r\n", "bad_header", 14),
    "folded": (b"Content-Length: 2\r\n x\r\n", "bad_header", 19),
    "NUL": (b"X: a\0b\r\n", "bad_header", 4),
    "name that is no token": ("имя: 1\r\n".encode(), "bad_header", 0),
    "name only": (b"Content-Length\r\n", "bad_header", 14),
    "the end in a header": (b"Content-Length: 2\r\n", "incomplete", 19),
    "the end in a name": (b"C", "incomplete", 1),
    "the end before a body": (b"Content-Length: 2\r\n\r\n", "incomplete", 21),
    "the end in a body": (b"Content-Length: 2\r\n\r\n{", "incomplete", 22),
}


@pytest.mark.parametrize(("data", "kind", "offset"), BAD.values(), ids=BAD)
def test_a_bad_header_is_a_fault_in_its_place(data: bytes, kind: str, offset: int) -> None:
    found = feeding.same_for_every_cut(ContentLengthDecoder, GOOD + data)
    assert found == ([b"{}"], (kind, len(GOOD) + offset))
    found = feeding.same_for_every_cut(ContentLengthDecoder, data)
    assert found == (None, (kind, offset))


def test_bytes_after_a_fault_are_discarded_and_the_fault_stays_the_same() -> None:
    decoder = ContentLengthDecoder()
    assert decoder.feed(GOOD + b"\n" + GOOD) == [b"{}"]
    assert decoder.fault is not None
    for _ in range(2):
        with pytest.raises(type(decoder.fault)) as raised:
            decoder.feed(GOOD)
        assert raised.value is decoder.fault
    assert decoder.close() == []


def test_a_body_comes_with_its_last_byte() -> None:
    decoder = ContentLengthDecoder()
    assert [decoder.feed(chunk) for chunk in feeding.bytewise(GOOD)] == [[]] * (len(GOOD) - 1) + [[b"{}"]]
    assert decoder.close() == decoder.close() == []
    with pytest.raises(LocalProtocolError):
        decoder.feed(GOOD)


def limited() -> ContentLengthDecoder:
    return ContentLengthDecoder(max_header_bytes=30, max_body_bytes=12)


def test_c43_the_header_has_a_limit_that_counts_raw_bytes() -> None:
    fits = b"Content-Length: 2\r\nABC: 45\r\n\r\n{}"
    assert len(fits) == 32
    assert feeding.same_for_every_cut(limited, fits * 2) == ([b"{}"] * 2, None)
    over = fits.replace(b"45", b"456")
    assert feeding.same_for_every_cut(limited, fits + over) == ([b"{}"], ("header_too_large", 32 + 30))
    assert feeding.same_for_every_cut(limited, b"x" * 40) == (None, ("header_too_large", 30))
    assert feeding.same_for_every_cut(limited, b"x" * 30) == (None, ("incomplete", 30))


@pytest.mark.parametrize("digits", [b"13", b"013", b"9" * 10, b"9" * 13])
def test_c43_a_body_that_is_too_large_is_refused_before_it_comes(digits: bytes) -> None:
    found = feeding.same_for_every_cut(limited, b"Content-Length:" + digits + b"\r\n")
    assert found == (None, ("body_too_large", 15))
    fits = b"Content-Length: 12\r\n\r\n" + b"x" * 12
    assert feeding.same_for_every_cut(limited, fits) == ([b"x" * 12], None)


def test_c43_thousands_of_digits_are_too_large_or_zeros() -> None:
    decoder = ContentLengthDecoder(max_header_bytes=100_000)
    assert decoder.feed(b"Content-Length: " + b"0" * 9000 + b"2\r\n\r\n{}") == [b"{}"]
    with pytest.raises(LimitExceeded) as raised:
        decoder.feed(b"Content-Length: " + b"9" * 9000 + b"\r\n")
    assert (raised.value.kind, raised.value.limit) == ("body_too_large", 16 * 1024 * 1024)


def test_c44_a_header_that_never_ends_is_not_kept() -> None:
    decoder = ContentLengthDecoder(max_header_bytes=1000)
    for _ in range(1000 // 60):
        decoder.feed(b"a: b\r\n" * 10)
    assert len(decoder._held) <= 1000
    with pytest.raises(LimitExceeded) as raised:
        decoder.feed(b"a: b\r\n" * 10)
    assert (raised.value.kind, raised.value.offset) == ("header_too_large", 1000)
    assert len(decoder._held) == 0


@pytest.mark.parametrize("piece", [1, 64])
@pytest.mark.parametrize(
    ("begin", "unit"),
    [(b"", b"x"), (b"", b"X: 1\r\n"), (b"Content-Length: 99999\r\n\r\n", b"x")],
    ids=["line", "lines", "body"],
)
def test_c45_work_is_linear_in_the_bytes(begin: bytes, unit: bytes, piece: int) -> None:
    once, twice = (
        feeding.work(ContentLengthDecoder(max_header_bytes=50_000), begin + unit * count, piece)
        for count in (2_000, 4_000)
    )
    assert twice <= 2.1 * once


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(0, 2**32))
def test_encode_then_decode_is_the_identity(bodies: list[bytes], seed: int) -> None:
    data = b"".join(map(encode_content_length, bodies))
    for chunks in [[data], feeding.bytewise(data), *feeding.random_splits(data, 3, seed)]:
        assert feeding.outcome(ContentLengthDecoder(), chunks) == (bodies or None, None)


@settings(max_examples=50)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_mutated_streams_give_the_same_in_any_cut(dice: random.Random, changes: int) -> None:
    data = bytearray(dice.choice([data for data, _ in STREAMS.values()])[:80] * 2 + b"\r\n")
    for _ in range(changes):
        data[dice.randrange(len(data))] = dice.choice(b"\r\n: 029aC;\0\xff")
    feeding.same_for_every_cut(limited, bytes(data))
    feeding.same_for_every_cut(ContentLengthDecoder, bytes(data))
