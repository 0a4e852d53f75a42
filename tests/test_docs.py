"""The pages of the protocol say what the code does: their blocks run, their limits are those of the signatures."""

import ast
import contextlib
import importlib
import inspect
import io
import re
from pathlib import Path
from typing import NamedTuple

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted((DOCS / "protocol").glob("*.md"))
EVERY_PAGE = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


class Block(NamedTuple):
    language: str
    text: str
    line: int


def blocks(text):
    return [Block(found[1], found[2], text.count("\n", 0, found.start()) + 2) for found in _FENCE.finditer(text)]


def run(page):
    """Executes the Python of a page, all in one namespace; yields each block, what it printed, and the block after."""
    found = blocks(page.read_text(encoding="utf-8"))
    namespace = {"__name__": page.stem}
    for block, after in zip(found, [*found[1:], None], strict=False):
        if block.language == "python":
            said = io.StringIO()
            source = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
            with contextlib.redirect_stdout(said):
                exec(compile(source, str(page), "exec"), namespace)
            yield block, said.getvalue(), after


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_and_print_what_stands_below_them(page):
    ran = 0
    for block, said, after in run(page):
        told = after.text if said and after is not None and after.language == "text" else ""
        assert said == told, f"{page.name}, line {block.line}"
        ran += 1
    assert ran, "a page without an example"


# --- what the pages say of the code ---

PROTOCOL = "penstock.protocol"
SIZES = {"KiB": 1024, "MiB": 1024 * 1024}
REFERENCE = next(  # of conf.py, which cannot be imported where there is no Sphinx
    ast.literal_eval(node.value)
    for node in ast.parse((DOCS / "conf.py").read_bytes()).body
    if isinstance(node, ast.Assign) and node.targets[0].id == "REFERENCE"
)

_LIMIT = re.compile(r"^\| ((?:`[\w.]+`(?:, )?)+) \| `(\w+)` \| (\d+)(?: (KiB|MiB))? \| ", re.MULTILINE)


def limits():
    text = (DOCS / "protocol" / "README.md").read_text(encoding="utf-8")
    return [
        (maker, argument, int(number) * SIZES.get(unit, 1))
        for makers, argument, number, unit in _LIMIT.findall(text)
        for maker in re.findall(r"`([\w.]+)`", makers)
    ]


@pytest.mark.parametrize(("maker", "argument", "default"), limits())
def test_the_table_of_limits_is_that_of_the_signatures(maker, argument, default):
    module, name = maker.rsplit(".", 1)
    made = getattr(importlib.import_module(f"{PROTOCOL}.{module}"), name)
    assert inspect.signature(made).parameters[argument].default == default


def test_no_limit_is_missing_in_the_table():
    named = {(maker, argument) for maker, argument, _ in limits()}
    for module in {name for modules in REFERENCE.values() for name in modules}:
        front = importlib.import_module(f"{PROTOCOL}.{module}")
        for name in front.__all__:
            made = getattr(front, name)
            if inspect.isclass(made) and not inspect.isabstract(made) and not issubclass(made, Exception):
                for argument in inspect.signature(made).parameters:
                    if argument.startswith("max_") and argument != "max_tokens" and "dialects" not in module:
                        assert (f"{module}.{name}", argument) in named or argument == "max_frame_bytes"


def test_the_limits_of_a_stream_are_those_of_the_code():
    source = importlib.import_module(f"{PROTOCOL}.dialects.source")
    said = f"{source.MAX_CHOICES} choices, {source.MAX_TOOL_CALLS} tool calls of a choice"
    assert said in (DOCS / "protocol" / "dialects.md").read_text(encoding="utf-8")
    defaults = {name: p.default for name, p in inspect.signature(source.Source).parameters.items()}
    assert (defaults["max_frame_bytes"], defaults["json_depth"]) == (16 * SIZES["MiB"], 128)


@pytest.mark.parametrize("name", ["ollama", "anthropic", "responses"])
def test_what_an_encoder_holds_is_bounded_as_its_page_says(name):
    encoder = importlib.import_module(f"{PROTOCOL}.dialects").DIALECTS[name].encoder
    assert inspect.signature(encoder).parameters["max_held_bytes"].default == 16 * SIZES["MiB"]
    text = (DOCS / "protocol" / f"{name}.md").read_text(encoding="utf-8")
    assert "| limits | `max_held_bytes` 16 MiB of the encoder" in text


# page -> the files in which its faults are made
KINDS = {
    "utf8": ["utf8.py"],
    "chunked": ["chunked.py"],
    "head": ["head.py"],
    "response": ["response.py"],
    "sse": ["blocks.py"],
    "ndjson": ["ndjson.py"],
    "members": ["splitter.py"],
    "multipart": ["multipart.py"],
    "embeddings": ["embeddings.py"],
    "jsonrpc": ["jsonrpc/content_length.py"],
}
_KIND = r"(?:[a-z]+(?:_[a-z0-9]+)+|nul|incomplete)"


@pytest.mark.parametrize("page", KINDS)
def test_a_page_names_all_kinds_of_faults_and_no_others(page):
    made, functions = set(), set()
    for file in KINDS[page]:
        source = (DOCS.parent / "protocol" / file).read_text(encoding="utf-8")
        made |= set(re.findall(rf'"({_KIND})"', source))
        functions |= set(re.findall(r"^def (\w+)", source, re.MULTILINE))
        if '"repeated_" + name' in source:
            made |= {"repeated_host", "repeated_content_length", "repeated_transfer_encoding"}
    facts = (DOCS / "protocol" / f"{page}.md").read_text(encoding="utf-8").partition("## Facts")[2]
    rows = [row for row in facts.splitlines() if not row.startswith(("| held back", "| limits", "| cost"))]
    assert set(re.findall(rf"`({_KIND})`", "\n".join(rows))) - functions == made - functions


PUBLIC = {
    ".".join(path.relative_to(DOCS.parent / "protocol").with_suffix("").parts).removesuffix(".__init__")
    for path in (DOCS.parent / "protocol").rglob("*.py")
}
# What stands behind the public modules: re-exported by them, or a help of theirs.
INNER = re.compile(
    r"__init__|tags\.\w+|blocks|lifecycle|look|runs|splitter|jsontext|whole"
    r"|vectors\.\w+|jsonrpc\.(codec|connection|content_length|conventions|messages)|dialects\.(through|prompts|(?!ollama_generate)\w+_\w+)"
)


def test_the_reference_has_every_public_module_and_each_once():
    named = [name for modules in REFERENCE.values() for name in modules]
    assert len(named) == len(set(named))
    public = {name for name in PUBLIC if not INNER.fullmatch(name)}
    assert set(named) == public, "a module wants a page and a line in REFERENCE of docs/conf.py, or is an inner one"
    for page in REFERENCE:
        assert (DOCS / f"{page}.md").exists()


def test_the_index_leads_to_every_page():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    site = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in EVERY_PAGE:
        name = page.relative_to(DOCS).as_posix()
        if name not in ("README.md", "index.md"):
            assert f"({name})" in index
            assert f"\n{name.removesuffix('.md')}\n" in site


@pytest.mark.parametrize("page", [*EVERY_PAGE, DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"], ids=str)
def test_links_lead_to_files_that_exist(page):
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if not target.startswith(("http:", "https:", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_the_readmes_example_of_the_core_runs():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    (example,) = [block.text for block in blocks(text) if "from penstock.protocol" in block.text]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example, "README.md", "exec"), {})
    assert said.getvalue() == "Пр\n[DONE]\n"
