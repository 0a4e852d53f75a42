"""The files of vectors, as they lie beside this module.

One JSON file a machine; the README beside them says what each member means. Read as package resources, so that they
are found in a wheel, in a zip and in a WebAssembly file system alike.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

__all__ = ["NAMES", "Vector", "load"]

Vector = dict[str, Any]

NAMES = (
    "utf8",
    "sse",
    "sse-encode",
    "ndjson",
    "json",
    "members",
    "detect",
    "chunked",
    "head",
    "content-length",
    "jsonrpc",
    "jsonrpc-dialogue",
    "streams",
)
"""Which there are, from the bytes upwards."""


def load(name: str) -> list[Vector]:
    """The vectors of one file, in its order. Raises ValueError for a name that is not in `NAMES`."""
    if name not in NAMES:
        raise ValueError(f"no vectors are called {name!r}")
    text = resources.files(__package__).joinpath(f"{name}.json").read_text("utf-8")
    vectors: list[Vector] = json.loads(text)["vectors"]
    return vectors
