"""docs/clients.md: the programs that stand in it, with the address of a gateway that runs."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["ADDRESS", "block"]

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
ADDRESS = "http://127.0.0.1:8777"


def block(section: str, language: str) -> str:
    """The one block of this language in a section of the page, by the beginning of its heading."""
    text = PAGE.read_text(encoding="utf-8")
    (body,) = (part for part in re.split(r"^## ", text, flags=re.MULTILINE) if part.startswith(section))
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
    assert ADDRESS.partition("//")[2] in found
    return str(found)
