"""Sphinx: the pages of this folder as one site, with a reference made of the docstrings. `make docs` builds it.

Two habits of the house that Sphinx does not know of. Docstrings are Markdown, as the pages are, so they are given to
the same parser. And what a module is for stands in a page: its reference is put at the end of that page when the site
is built, so that on GitHub a page is just the page.

Every warning is an error (`-W -n`): a dead link, a page that nothing leads to, a type in a signature that is neither
in the reference nor named below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

from docutils import nodes
from docutils.utils import new_document
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from penstock import __version__
from penstock.protocol.dialects.source import Source
from penstock.protocol.machine import Machine

HERE = Path(__file__).parent

project = "penstock"
copyright = "the authors of penstock, Apache-2.0"
release = version = __version__
html_title = f"penstock {release}"
html_theme = "furo"  # light and dark; loads nothing from elsewhere
smartquotes = False  # docstrings say b"" without further marks
html_copy_source = False
html_show_sourcelink = False
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]  # it is the beginning of index.md, see `begin_index`
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True

# page -> the modules whose reference it ends with. tests/test_docs.py holds that none is forgotten.
REFERENCE = {
    "protocol/README": ["machine", "errors"],
    "protocol/utf8": ["utf8"],
    "protocol/chunked": ["chunked"],
    "protocol/head": ["head"],
    "protocol/response": ["response"],
    "protocol/sse": ["sse"],
    "protocol/ndjson": ["ndjson"],
    "protocol/detect": ["detect"],
    "protocol/jsonrpc": ["jsonrpc", "jsonrpc.exchanges"],
    "protocol/chat": ["chat"],
    "protocol/dialects": ["dialects", "dialects.source", "dialects.failures"],
    "protocol/openai": ["dialects.openai"],
    "protocol/completions": ["dialects.completions"],
    "protocol/responses": ["dialects.responses"],
    "protocol/anthropic": ["dialects.anthropic"],
    "protocol/ollama": ["dialects.ollama", "dialects.ollama_generate"],
    "protocol/reader": ["reader"],
    "protocol/relay": ["relay", "pipeline"],
    "protocol/tags": ["tags"],
    "protocol/passing": ["passing"],
    "protocol/members": ["members"],
    "protocol/multipart": ["multipart"],
    "protocol/embeddings": ["embeddings"],
    "protocol/vectors": ["vectors"],
}

# What stands in a neighbour's reference already, or is no caller's.
LEFT_OUT = {
    "pipeline": "Pipe",
    "dialects.completions": "StreamDecoder",
    "dialects.ollama_generate": "StreamDecoder, Times",
}

nitpicky = True
nitpick_ignore_regex = [
    # The standard library: its pages are elsewhere, and a build needs no network.
    (r"py:.*", r"(collections|typing|types|abc|enum|re|json|datetime)\..*"),
    (r"py:.*", r".*\.(Results|T)|Kind \| None"),  # type variables, and an annotation in quotes
    (r"py:class", r".*\.Generate(Encoder|Passage)"),  # of what `ollama_generate` calls by another name
    (r"py:.*", r"(bytes|bytearray|memoryview|str|int|float|bool|dict|list|tuple|set|frozenset|type|object|None|Any)"),
]


class Docstring(SphinxDirective):
    """A docstring, read as Markdown."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        document = new_document(self.state.document["source"], self.state.document.settings)
        MystParser().parse("\n".join(self.content), document)
        return list(document.children)


def as_markdown(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The docstring in a directive that knows what it is."""
    if lines:
        lines[:] = [".. docstring::", "", *[f"   {line}" for line in lines], ""]


def leave_out(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """A named tuple's fields stand in its signature; those that no text explains are not said twice. Nor are values
    that would fill a page."""
    bare = type(obj).__name__ == "_tuplegetter" and (obj.__doc__ or "").startswith("Alias for field")
    return True if bare or (isinstance(obj, Mapping) and len(repr(obj)) > 400) else None


def public_bases(app: Sphinx, name: str, obj: type, options: Any, bases: list[Any]) -> None:
    """In the place of a base between, the one that says what `feed` and `close` do: `Machine[...]`, `Source[...]`."""
    for at, base in enumerate(bases):
        while (kind := get_origin(base) or base) not in (Machine, Source) and hasattr(kind, "__orig_bases__"):
            between = kind.__orig_bases__[0]
            base = (get_origin(between) or between)[get_args(base)] if get_args(base) else between
        if kind in (Machine, Source):
            bases[at] = base
        elif getattr(kind, "__name__", "").startswith("_"):
            bases[at] = object


def resolve_fields(module: ModuleType) -> None:
    """Types of a named tuple's fields as types: `typing.NamedTuple` keeps them as text, without their module."""
    for kind in vars(module).values():
        if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
            kind.__new__.__annotations__ = get_type_hints(kind)


def begin_index(app: Sphinx, page: str, source: list[str]) -> None:
    """The first page is the README of this folder; index.md has what only a site needs."""
    if page == "index":
        source[0] = (HERE / "README.md").read_text(encoding="utf-8") + "\n" + source[0]


def unlink_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """The site is this folder: of a link to a file elsewhere in the repository, the words stay."""

    def unlinked(link: re.Match[str]) -> str:
        target = (HERE / page).parent / link[2]
        return link[0] if target.resolve().is_relative_to(HERE) else link[1]

    source[0] = re.sub(r"\[([^\]]+)\]\((\.\./[^)#]+)[^)]*\)", unlinked, source[0])


def add_reference(app: Sphinx, page: str, source: list[str]) -> None:
    """The reference at the end of its page."""
    modules = REFERENCE.get(page, [])
    for name in modules:
        resolve_fields(import_module(f"penstock.protocol.{name}"))
    if modules:
        source[0] += "\n## Reference\n\n" + "\n".join(map(_directive, modules))


def _directive(name: str) -> str:
    said = f"   :exclude-members: {LEFT_OUT[name]}\n" if name in LEFT_OUT else ""
    return f"### `{name}`\n\n```{{eval-rst}}\n.. automodule:: penstock.protocol.{name}\n{said}```\n"


def setup(app: Sphinx) -> None:
    app.add_directive("docstring", Docstring)
    app.connect("autodoc-process-docstring", as_markdown)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-bases", public_bases)
    app.connect("source-read", begin_index)
    app.connect("source-read", unlink_outside)
    app.connect("source-read", add_reference)
