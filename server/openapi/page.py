"""The OpenAPI document as one page: no script, nothing loaded from anywhere, light or dark as the reader's system is.

It is written from the document, so it can say nothing else. Everything in it is escaped, and its policy forbids the
browser to run or fetch anything at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape

from .shapes import Json

__all__ = ["POLICY", "example", "page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_STYLE = """
:root { color-scheme: light dark; --back: #fbfbfa; --card: #fff; --line: #e3e1dc; --ink: #23211d; --soft: #6c6860;
  --get: #1d6fb8; --post: #23803f; --delete: #b3392f; --code: #f3f1ec }
@media (prefers-color-scheme: dark) { :root { --back: #16171a; --card: #1e2024; --line: #33363c; --ink: #e6e4df;
  --soft: #9b9891; --get: #6cb3f0; --post: #6fcf8b; --delete: #f08b80; --code: #26292e } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem }
h1 { font-size: 1.9rem; margin: 0 } h1 small { font-size: .9rem; color: var(--soft); font-weight: 400 }
h2 { margin: 2.6rem 0 .2rem; font-size: 1.25rem } h3 { font-size: .8rem; color: var(--soft); margin: 1rem 0 .3rem;
  text-transform: uppercase; letter-spacing: .05em }
p { margin: .3rem 0 .8rem } .soft { color: var(--soft) }
nav { display: flex; flex-wrap: wrap; gap: .4rem 1rem; margin-top: 1rem } a { color: var(--get) }
details { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; margin: .45rem 0 }
summary { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: baseline; padding: .5rem .8rem;
  cursor: pointer; list-style: none } summary::-webkit-details-marker { display: none }
summary:focus-visible { outline: 2px solid var(--get); border-radius: .5rem }
.verb { font: 600 .78rem/1 ui-monospace, monospace; min-width: 4.2em } .get { color: var(--get) }
.post { color: var(--post) } .delete { color: var(--delete) }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: .88em }
pre { background: var(--code); padding: .7rem .9rem; border-radius: .4rem; overflow-x: auto; margin: .3rem 0 }
p code, td code, li code { background: var(--code); padding: .1em .35em; border-radius: .25rem }
.inside { padding: 0 .9rem .9rem; border-top: 1px solid var(--line) }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .93em }
td { border-top: 1px solid var(--line); padding: .35rem .8rem .35rem 0; vertical-align: top }
tr:first-child td { border-top: 0 } .name { white-space: nowrap }
"""


def page(document: Json) -> str:
    """The page, HTML."""
    return "".join(_page(document))


def _page(document: Json) -> Iterator[str]:
    info, groups = document["info"], document["tags"]
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(info['title'])}: API</title><style>{_STYLE}</style></head><body><main>"
    yield f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
    yield f"<p>{_text(info['description'])} "
    yield "As a document for programs: <a href='openapi.json'>openapi.json</a>, OpenAPI 3.1.</p>"
    yield f"<p class='soft'>{_keys(document)}</p><nav>"
    shown = [(group, list(_of_group(document, group["name"]))) for group in groups]
    shown = [(group, operations) for group, operations in shown if operations]
    for group, _ in shown:
        yield f"<a href='#{escape(group['name'])}'>{escape(group['name'])}</a>"
    yield "<a href='#refusals'>Refusals</a><a href='#shapes'>Shapes</a></nav>"
    for group, operations in shown:
        yield f"<h2 id='{escape(group['name'])}'>{escape(group['name'])}</h2><p>{_text(group['description'])}</p>"
        for path, method, operation in operations:
            yield from _operation(path, method, operation)
    yield "<h2 id='refusals'>Refusals</h2><p>The same everywhere, in the shape that the endpoint's clients read.</p>"
    refusals = document["components"]["responses"]
    known = {name.removeprefix("Error"): told for name, told in refusals.items() if name.startswith("Error")}
    yield f"<details open><summary>Statuses</summary><div class='inside'>{_answers(known)}</div></details>"
    yield "<h2 id='shapes'>Shapes</h2>"
    for name, shape in document["components"]["schemas"].items():  # a link to what is inside opens it
        yield f"<details><summary><code>{escape(name)}</code></summary>"
        yield f"<div class='inside' id='shape-{escape(name)}'>{_members(shape)}</div></details>"
    yield "</main></body></html>"


def _keys(document: Json) -> str:
    if not document["security"]:
        return "No key is asked for here."
    return _text("Show your key as `Authorization: Bearer KEY`, `api-key: KEY` or `x-api-key: KEY`.")


def _of_group(document: Json, group: str) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if group in operation["tags"]:
                yield path, method, operation


def _operation(path: str, method: str, operation: Json) -> Iterator[str]:
    yield "<details><summary>"
    yield f"<span class='verb {escape(method)}'>{escape(method.upper())}</span><code>{escape(path)}</code>"
    yield f"<span class='soft'>{escape(operation['summary'])}</span></summary>"
    yield f"<div class='inside' id='{escape(operation['operationId'])}'>"
    if about := operation.get("description"):
        yield f"<p>{_text(about)}</p>"
    if parameters := operation.get("parameters"):
        rows = [(p["name"], p["in"], p.get("description", "")) for p in parameters]
        yield f"<h3>Parameters</h3>{_table(rows)}"
    if body := operation.get("requestBody"):
        yield f"<h3>Body</h3>{_content(body['content'])}"
    answers = {status: answer for status, answer in operation["responses"].items() if "$ref" not in answer}
    if answers:
        yield f"<h3>Answers</h3>{_answers(answers)}"
    yield "</div></details>"


def _answers(responses: Json) -> str:
    rows = (
        f"<tr><td class='name'><code>{escape(status)}</code></td><td>{_text(answer['description'])}</td>"
        f"<td>{_content(answer.get('content', {}))}</td></tr>"
        for status, answer in responses.items()
    )
    return f"<div class='scroll'><table>{''.join(rows)}</table></div>"


def _content(content: Json) -> str:
    return "<br>".join(f"<code>{escape(kind)}</code> {_kind(media['schema'])}" for kind, media in content.items())


def _members(shape: Json) -> str:
    about = f"<p>{_text(shape['description'])}</p>" if "description" in shape else ""
    required = shape.get("required", [])
    rows = [
        (name + ("" if name in required else "?"), _kind(member), member.get("description", ""))
        for name, member in shape.get("properties", {}).items()
    ]
    return about + (_table(rows) if rows else f"<p>{_kind(shape)}</p>") + _example(shape)


def example(shape: Json) -> Json | None:
    """What may be pasted: the members that are needed; None where one of them has no example."""
    needed = {name: shape["properties"][name] for name in shape.get("required", ())}
    if not needed or not all("examples" in member for member in needed.values()):
        return None
    return {name: member["examples"][0] for name, member in needed.items()}


def _example(shape: Json) -> str:
    shown = example(shape)
    text = json.dumps(shown, ensure_ascii=False, indent=2)
    return "" if shown is None else f"<h3>Example</h3><pre>{escape(text)}</pre>"


def _table(rows: list[tuple[str, str, str]]) -> str:
    cells = (
        f"<tr><td class='name'><code>{escape(name)}</code></td>"
        f"<td>{kind if kind.startswith('<') else escape(kind)}</td><td>{_text(about)}</td></tr>"
        for name, kind, about in rows
    )
    return f"<div class='scroll'><table>{''.join(cells)}</table></div>"


def _kind(shape: Json) -> str:
    """A shape in a word or two, as HTML."""
    if "$ref" in shape:
        name = escape(shape["$ref"].rpartition("/")[2])
        return f"<a href='#shape-{name}'>{name}</a>"
    if "data" in shape.get("properties", {}):
        data = shape["properties"]["data"]
        return "<span>events with " + _kind(data.get("contentSchema", data)) + "</span>"
    if "anyOf" in shape:
        return "<span>" + " or ".join(map(_kind, shape["anyOf"])) + "</span>"
    if "enum" in shape or "const" in shape:
        words = shape.get("enum") or [shape["const"]]
        return " or ".join(f"<code>{escape(json.dumps(word))}</code>" for word in words)
    kind = shape.get("type", "anything")
    told = " or ".join(kind) if isinstance(kind, list) else kind
    return f"<span>{escape(told)}{' of ' + _kind(shape['items']) if 'items' in shape else ''}</span>"


def _text(text: str) -> str:
    """Plain text with `code` in it, as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
