"""Where stream parsers break, and ways to make it happen: awkward texts, mutations of bytes, and cuts.

Everything takes a `random.Random`, and gives the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

__all__ = ["BYTES", "TEXTS", "bits", "cuts", "mutated", "one", "some", "text"]

BYTES: Sequence[bytes] = (
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"\0", b" ", b"\t", b":", b'"', b"\\", b"\x0b"),
    *(
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\xef",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9f\x98",
    ),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\xe2\x82", b"\xf0\x9f\x98\x80", b"\xd0\x96", b"\x80", b"\x7f", b"\x1c"),
    *(b"{", b"}", b"[", b"]", b"[[[[[[[[", b"]]]]", b",", b"0", b"-", b"1e999", b"NaN", b"99999999999999999999"),
    *(b"\\ud83d", b"\\ude00", b"\\u0000", b"\\", b"data: ", b"data", b"data: [DONE]\n\n", b"id: 1\n", b"retry: 9\n"),
)

TEXTS: Sequence[str] = (
    *(
        "a",
        "Hello",
        " world",
        "",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\t",
        '"',
        "\\",
        "\0",
        "\x7f",
        "{",
        "[DONE]",
        "data: x",
        ":",
    ),
    *(
        "é",
        "Привет",
        "日本語",
        "한국",
        "👩‍👩‍👧",
        "😀",
        "𝒳",
        "\ufeff",
        "\ufffd",
        "\u2028",
        "\u2029",
        "\x85",
        "\x0b",
        "\x1c",
    ),
    *("<think>", "</think>", "<tool_call>", "</", "null", "e\u0301", "\U0010ffff", "x" * 40),
)


def one(choose: Random, items: Sequence[bytes]) -> bytes:
    """One of `items`. (A fifth of the cost of `Random.choice`.)"""
    return items[int(choose.random() * len(items))]


def some(choose: Random, items: Sequence[bytes], most: int) -> bytes:
    """One to `most` of `items`, joined."""
    return b"".join(choose.choices(items, k=1 + int(choose.random() * most)))


def text(choose: Random, most: int = 4) -> str:
    """A text that is awkward to carry, without halves of surrogate pairs."""
    return "".join(choose.choices(TEXTS, k=int(choose.random() * (most + 1))))


def bits(choose: Random, most: int) -> bytes:
    """Any bytes."""
    return choose.randbytes(int(choose.random() * (most + 1)))


def mutated(choose: Random, data: bytes, pieces: Sequence[bytes] = BYTES) -> bytes:
    """`data` with nothing to three things done to it."""
    for _ in range(int(choose.random() * 4)):
        what, at = int(choose.random() * 8), int(choose.random() * (len(data) + 1))
        end = min(at + 1 + int(choose.random() * 12), len(data))
        if what <= 1:
            data = data[:at] + one(choose, pieces) + data[at:]
        elif what == 2:
            data = data[:at] + data[end:]
        elif what == 3:
            data = data[:end] + data[at:]
        elif what == 4:
            data = data[:at] + one(choose, pieces) + data[end:]
        elif what == 5:
            data = data[:at] + bits(choose, 3) + data[end:]
        elif what == 6:
            data = data[:at]
        else:
            data = data[at:] + data[:at]
    return data


def cuts(choose: Random, data: bytes, count: int) -> Iterator[list[bytes]]:
    """`count` ways to cut `data`: whole, byte by byte, in two, into a few (some empty), and around line ends."""
    yield [data]
    if count > 1:
        yield [data[at : at + 1] for at in range(len(data))]
    size = len(data) + 1
    ends = [at for at, byte in enumerate(data) if byte in b"\r\n"]
    for number in range(count - 2):
        if number % 3 == 0:
            at = int(choose.random() * size)
            yield [data[:at], data[at:]]
            continue
        places = [int(choose.random() * size) for _ in range(2 + number % 5)]
        if ends and number % 3 == 1:
            near = ends[int(choose.random() * len(ends))] + int(choose.random() * 3)
            places += [near, near]  # twice, so that there is an empty chunk
        places.sort()
        yield [data[start:end] for start, end in zip([0, *places], [*places, size], strict=True)]
