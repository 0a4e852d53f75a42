"""From what was said to settings: every value checked against the type that its struct asks for.

The structs are the only description of the configuration. This walks them beside the tree of `Sources`, so
that an error always knows its key, and lets msgspec judge single values: strictly where the source has types
of its own (TOML), leniently where everything is text (the environment). The first error ends it.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, UnsetType

from ..providers.settings import SecretSource
from .config_sources import KeyPath, Sources, dotted

__all__ = ["did_you_mean", "plain_type", "read"]

T = TypeVar("T", bound=msgspec.Struct)

_NEVER_INLINE = (
    "must not hold a secret itself: keys come from the environment or from files, never inline; "
    'write { env = "NAME_OF_A_VARIABLE" } or { file = "path" }.'
)


def read(shape: type[T], sources: Sources) -> T:
    """What the sources say, as `shape`. Raises ConfigError."""
    return _struct(shape, sources.tree, (), sources)


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence about a word that is not known: the nearest one that is, if it is near."""
    import difflib  # only for somebody who has time to read an error

    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else "."


def plain_type(kind: Any) -> tuple[Any, Meta | None]:
    """A field's type without the possibility of not being said, and what is noted beside it."""
    if get_origin(kind) in (Union, types.UnionType):
        said = [option for option in get_args(kind) if option is not UnsetType]
        if len(said) == 1:
            kind = said[0]
    if get_origin(kind) is Annotated:
        kind, meta = get_args(kind)
        return kind, meta
    return kind, None


def _struct(shape: type[T], table: Any, path: KeyPath, sources: Sources) -> T:
    if not isinstance(table, dict):
        raise sources.error(path, f"must be {_expected(shape)}, not {_kind(table)}.")
    fields = {field.encode_name: field for field in msgspec.structs.fields(shape)}
    for key in table:
        if key not in fields:
            where = dotted(path) + "." if path else ""
            hint = did_you_mean(key, fields, where)
            known = f"{hint[:-1]}: the keys here are {', '.join(fields)}." if hint == "." else hint
            raise sources.error((*path, key), f"is not a setting{known}")
    for key, field in fields.items():
        if field.required and key not in table:
            raise sources.error((*path, key), f"is missing: it must be {_expected(field.type)}.")
    return shape(**{key: _value(fields[key].type, value, (*path, key), sources) for key, value in table.items()})


def _value(annotated: Any, value: Any, path: KeyPath, sources: Sources) -> Any:
    kind, meta = plain_type(annotated)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise sources.error(path, f"must be a table, not {_kind(value)}.")
        item = get_args(kind)[1]
        return {key: _value(item, inner, (*path, key), sources) for key, inner in value.items()}
    if get_origin(kind) is list:
        return _list(get_args(kind)[0], value, path, sources)
    if get_origin(kind) in (Union, types.UnionType):  # a name, or a table that says more
        kind = next(option for option in get_args(kind) if isinstance(value, dict) == _is_struct(option))
        annotated = kind
    if kind is SecretSource and isinstance(value, str):
        raise sources.error(path, _NEVER_INLINE)
    if _is_struct(kind):
        return _struct(kind, value, path, sources)
    result = _leaf(annotated, value, path, sources)
    if meta is not None and (meta.extra or {}).get("path") and result:
        result = str((sources.folder(path) / result).expanduser().absolute())
    return result


def _list(item: Any, value: Any, path: KeyPath, sources: Sources) -> list[Any]:
    from_text = sources.is_text(path)
    if from_text:
        value = _split(value, path, sources)
    if not isinstance(value, list):
        raise sources.error(path, f"must be {_expected(list[item])}, not {_kind(value)}.")
    return [_value(item, inner, (*path, index), sources) for index, inner in enumerate(value)]


def _split(text: str, path: KeyPath, sources: Sources) -> Any:
    """A list in a variable: JSON, or words between commas."""
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError as exc:
            raise sources.error(path, "begins like a JSON array and is none.") from exc
    return [word.strip() for word in text.split(",") if word.strip()]


def _leaf(annotated: Any, value: Any, path: KeyPath, sources: Sources) -> Any:
    try:
        return msgspec.convert(value, annotated, strict=not sources.is_text(path))
    except msgspec.ValidationError as exc:
        kind, _ = plain_type(annotated)
        # The value is repeated only where it cannot be a secret that strayed here.
        shown = repr(value) if get_origin(kind) is Literal or isinstance(value, (int, float)) else _kind(value)
        near = did_you_mean(value, get_args(kind)) if get_origin(kind) is Literal and isinstance(value, str) else "."
        raise sources.error(path, f"must be {_expected(annotated)}, not {shown}{near}") from exc


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


_WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_KINDS: dict[type, str] = {bool: "a truth value", dict: "a table", list: "a list", str: "text"}


def _expected(annotated: Any) -> str:
    """What a value of this type is, in words."""
    kind, meta = plain_type(annotated)
    if meta is not None and meta.description:
        return meta.description
    if get_origin(kind) is Literal:
        return " or ".join(json.dumps(option) for option in get_args(kind))
    if get_origin(kind) is list:
        item, _ = plain_type(get_args(kind)[0])
        return "a list of texts" if item is str else "a list of tables" if _is_struct(item) else "a list"
    if kind is SecretSource:
        return 'a table like { env = "NAME" } or { file = "path" }'
    return _WORDS.get(kind, "a table")


def _kind(value: object) -> str:
    return _KINDS.get(type(value)) or (str(value) if isinstance(value, (int, float)) else "a date or time")
