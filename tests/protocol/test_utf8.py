"""UTF-8 in any cut: the text of CPython's own decoder, the same for every cut, and nothing held too long."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

import feeding
from penstock.protocol import utf8
from penstock.protocol.errors import RemoteProtocolError

TEXT = "aж한😀é\u0301বাংলা\u2028\ufeff👩‍💻\U0010ffff\x00\x7f"

# Ill-formed bytes and how many maximal subparts they are (Unicode 15, section 3.9, tables 3-8 to 3-11).
ILL_FORMED = {
    "continuation alone": (b"\x80", 1),
    "two continuations": (b"\xbf\x80", 2),
    "never a byte": (b"\xfe\xff", 2),
    "overlong slash": (b"\xc0\xaf", 2),
    "overlong three": (b"\xe0\x80\xaf", 3),
    "overlong four": (b"\xf0\x80\x80\xaf", 4),
    "surrogate": (b"\xed\xa0\x80", 3),
    "surrogate pair": (b"\xed\xa0\xbd\xed\xb8\x80", 6),
    "beyond U+10FFFF": (b"\xf4\x90\x80\x80", 4),
    "five bytes": (b"\xf8\x88\x80\x80\x80", 5),
    "two of three": (b"\xe2\x82", 1),
    "two of three, then a letter": (b"\xe2\x82a", 1),
    "three of four, then a lead": (b"\xf0\x9f\x98\xc3\xa9", 1),
    "one of two, then one of two": (b"\xc3\xc3\xa9", 1),
    "table 3-8": (b"\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64", 6),
    "cut at the end": (b"abc\xf0\x9f\x98", 1),
}


def test_c33_utf8_split_across_reads() -> None:
    assert feeding.same_for_every_cut(utf8.Decoder, TEXT.encode()) == (TEXT, None)
    assert feeding.same_for_every_cut(lambda: utf8.Decoder("strict"), TEXT.encode()) == (TEXT, None)


@pytest.mark.parametrize(("raw", "count"), ILL_FORMED.values(), ids=ILL_FORMED)
def test_one_replacement_for_each_maximal_subpart(raw: bytes, count: int) -> None:
    data = b"<" + raw + b">" + raw
    expected = data.decode("utf-8", "replace")
    assert expected.count("\ufffd") == 2 * count
    assert feeding.same_for_every_cut(utf8.Decoder, data) == (expected, None)


@pytest.mark.parametrize(("raw", "count"), ILL_FORMED.values(), ids=ILL_FORMED)
def test_replaced_counts_what_was_ill_formed(raw: bytes, count: int) -> None:
    for chunks in feeding.cuts(b"\xef\xbf\xbd" + raw + b"\xef\xbf\xbd" + raw):
        decoder = utf8.Decoder()
        feeding.outcome(decoder, chunks)
        assert decoder.replaced == 2 * count


@pytest.mark.parametrize(("raw", "count"), ILL_FORMED.values(), ids=ILL_FORMED)
def test_strict_says_where(raw: bytes, count: int) -> None:
    data = TEXT.encode() + raw + b" more"
    with pytest.raises(UnicodeDecodeError) as told:
        data.decode("utf-8")
    before = data[: told.value.start].decode()
    found = feeding.same_for_every_cut(lambda: utf8.Decoder("strict"), data)
    assert found == (before, ("invalid_utf8", told.value.start))


def test_strict_refuses_an_unfinished_end() -> None:
    found = feeding.same_for_every_cut(lambda: utf8.Decoder("strict"), b"ab\xf0\x9f\x98")
    assert found == ("ab", ("invalid_utf8", 2))


def test_every_short_sequence_of_telling_bytes_is_as_cpython_has_it() -> None:
    telling = [0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xE0, 0xE1, 0xED, 0xF0, 0xF1, 0xF4, 0xF5]
    for values in itertools.product(telling, repeat=3):
        data = bytes(values)
        decoder = utf8.Decoder()
        text = "".join(decoder.feed(chunk) for chunk in feeding.bytewise(data)) + decoder.close()
        assert text == data.decode("utf-8", "replace")


def test_text_comes_with_the_byte_that_completes_it() -> None:
    decoder = utf8.Decoder()
    assert [decoder.feed(chunk) for chunk in feeding.bytewise("aж😀".encode())] == ["a", "", "ж", "", "", "", "😀"]
    assert decoder.feed(b"\xed") == ""
    assert decoder.feed(b"\xa0") == "\ufffd\ufffd"  # a surrogate can no longer become a character
    assert decoder.feed(b"\xe2\x82") == ""
    assert decoder.feed(b"a") == "\ufffda"


def test_a_byte_order_mark_is_text() -> None:
    assert feeding.same_for_every_cut(utf8.Decoder, b"\xef\xbb\xbfa") == ("\ufeffa", None)


@pytest.mark.parametrize(("raw", "count"), [(TEXT.encode(), 0), *ILL_FORMED.values()])
def test_boundary_is_the_longest_prefix_on_a_character_boundary(raw: bytes, count: int) -> None:
    for end in range(len(raw) + 1):
        data = raw[:end]
        at = utf8.boundary(data)
        assert utf8.boundary(bytearray(data)) == utf8.boundary(memoryview(data)) == at
        assert len(data) - at <= 3
        if at < len(data):  # what is left could still become one character, and is none yet
            assert any(can_be_decoded(data[at:] + rest) for rest in completions(len(data) - at))
        else:  # nothing that follows can change what the last bytes are
            final = data.decode("utf-8", "replace")
            for more in (b"\x80", b"\x90\x80", b"\xa0\x80\x80", b"\xbf\xbf\xbf"):
                assert (data + more).decode("utf-8", "replace").startswith(final)


def completions(held: int) -> list[bytes]:
    return [bytes([first, 0x80, 0x80])[:length] for first in (0x80, 0x90, 0xA0) for length in range(1, 4)]


def can_be_decoded(data: bytes) -> bool:
    try:
        return len(data.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False


def test_boundary_of_nothing_and_of_ascii() -> None:
    assert utf8.boundary(b"") == 0
    assert utf8.boundary(b"abc") == 3


def test_errors_is_one_of_two_words() -> None:
    wrong: Any = "ignore"
    with pytest.raises(ValueError, match=re.escape("'replace' or 'strict'")):
        utf8.Decoder(wrong)


def test_a_strict_fault_keeps_nothing() -> None:
    decoder = utf8.Decoder("strict")
    with pytest.raises(RemoteProtocolError):
        decoder.feed(b"\xff" * 1000)
    assert decoder.close() == ""
    assert decoder.replaced == 0
