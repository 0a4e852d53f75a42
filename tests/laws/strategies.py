"""Hypothesis strategies for what the generators in `streams` make faster: for tests that should shrink well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from laws import beside
from laws.streams import http, json, rpc, sse, trouble

__all__ = ["BYTES", "cuts", "json_values", "of_pieces", "texts"]


def of_pieces(pieces: Sequence[bytes], most: int = 40) -> st.SearchStrategy[bytes]:
    """Byte strings of these pieces and of anything."""
    piece = st.one_of(st.sampled_from(pieces), st.sampled_from(trouble.BYTES), st.binary(max_size=6))
    return st.lists(piece, max_size=most).map(b"".join)


BYTES: dict[str, st.SearchStrategy[bytes]] = {
    "sse": of_pieces(sse.PIECES),
    "sse-plain": of_pieces(sse.PIECES),
    "blocks": of_pieces(sse.PIECES),
    "runs": of_pieces((*sse.PIECES, *json.PIECES)),
    "utf8": of_pieces(trouble.BYTES),
    "ndjson": of_pieces(json.PIECES),
    "lines": of_pieces(json.PIECES),
    "members": of_pieces(json.PIECES).map(lambda data: b'{"a":' + data),
    "chunked": of_pieces(http.CHUNKED),
    "head": of_pieces(http.HEADS),
    "response": of_pieces(http.RESPONSES),
    "content-length": of_pieces(rpc.FRAMES),
    "multipart": of_pieces(beside.PIECES, 12),
    "detect": of_pieces((*json.PIECES, *sse.PIECES)),
}
"""For each machine that finds frames, byte strings that it should see."""

texts = st.one_of(
    st.text(st.characters(exclude_categories=())),  # halves of surrogate pairs too
    st.lists(st.sampled_from(trouble.TEXTS), max_size=4).map("".join),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """One way to cut `data`; empty chunks occur."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
