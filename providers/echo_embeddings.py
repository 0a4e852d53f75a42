"""What the embedded echo answers to a request for embeddings: vectors in which like texts lie near each other.

A text is counted by its character trigrams, each at a place and with a sign that its checksum says, and the vector is
brought to length 1. It knows nothing of meaning, but the same text has the same vector on every machine, and one that
shares words with another is nearer to it than one that does not: enough to try a client, an index or a search.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .echo_answer import BadRequest, dumps

__all__ = ["answer"]

DIMENSIONS = 64
MAX_FEATURES = 262144
"""Of all inputs together, no more is looked at: it takes a tenth of a second."""

MAX_NUMBERS = 1048576
"""In one answer."""

_Text = Annotated[str, Meta(min_length=1)]
_Texts = Annotated[list[_Text], Meta(min_length=1, max_length=2048)]
_Ids = Annotated[list[int], Meta(min_length=1)]
_Batch = Annotated[list[_Ids], Meta(min_length=1, max_length=2048)]


class _Request(msgspec.Struct):
    model: str
    input: Any
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=4096)] | None = None


def answer(body: bytes) -> bytes:
    """The answer to a request's body, as JSON; to be called in a thread. Raises BadRequest."""
    try:
        request = msgspec.convert(json.loads(body), _Request)
        inputs = _inputs(request.input)
    except (ValueError, RecursionError) as exc:
        wrong = str(exc) if isinstance(exc, msgspec.ValidationError) else "the body is not JSON"
        raise BadRequest(wrong) from exc
    dimensions, most = request.dimensions or DIMENSIONS, MAX_FEATURES // len(inputs)
    if dimensions * len(inputs) > MAX_NUMBERS:
        raise BadRequest(f"more than {MAX_NUMBERS} numbers in one answer")
    vectors = [_vector(one[:most], dimensions) for one in inputs]
    tokens = sum(len(one) if isinstance(one, list) else len(one) // 4 + 1 for one in inputs)
    packed = request.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return dumps({"object": "list", "data": data, "model": request.model, "usage": usage})


def _inputs(said: Any) -> list[str | list[int]]:
    """Each text, or each list of token ids."""
    if isinstance(said, str):
        return [msgspec.convert(said, _Text)]
    if isinstance(said, list) and said and isinstance(said[0], int):
        return [msgspec.convert(said, _Ids)]
    if isinstance(said, list) and said and isinstance(said[0], list):
        return [*msgspec.convert(said, _Batch)]
    return [*msgspec.convert(said, _Texts)]


def _vector(one: str | list[int], dimensions: int) -> list[float]:
    counts = [0.0] * dimensions
    for feature in _features(one):
        check = zlib.crc32(feature)
        counts[check % dimensions] += 1.0 if check & 0x80000000 else -1.0
    length = math.sqrt(sum(count * count for count in counts))
    if not length:  # all that there was took itself out
        counts[0] = length = 1.0
    floats = struct.pack(f"<{dimensions}f", *(count / length for count in counts))
    return list(struct.unpack(f"<{dimensions}f", floats))  # the same numbers in both forms


def _features(one: str | list[int]) -> list[bytes]:
    if isinstance(one, list):
        return [b"%d" % token for token in one]
    text = f" {one.lower()} ".encode("utf-8", "replace").decode()
    return [text[at : at + 3].encode() for at in range(len(text) - 2)]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
