"""Where settings come from, gathered into one tree: a TOML file, the environment, the command line.

The later beats the earlier, key by key. The tree is plain data as TOML gives it; beside it is kept who said
what, so that an error can name the line or the variable, and `config show` can tell where a value is from.

An environment variable is a setting of ours if two underscores follow its first word:
`PENSTOCK_SERVER__PORT`. So what Kubernetes puts there for a service named penstock (`PENSTOCK_PORT`,
`PENSTOCK_SERVICE_HOST`) is none, while a single underscore written by mistake is reported, not ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["ConfigError", "KeyPath", "Sources", "dotted"]

PREFIX = "PENSTOCK_"

KeyPath = tuple[str | int, ...]
"""The way to a value: names of tables and keys, and positions in arrays of tables."""


class ConfigError(Exception):
    """The configuration cannot be used. The message is one plain sentence: key, place, what was expected."""


def dotted(path: KeyPath) -> str:
    """A path as a user would write it: `providers.local.base_url`, `keys[0].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False))
    return text


class Sources:
    """What all sources say, in `tree`, and who said it."""

    def __init__(self, file: Path | None, environ: Mapping[str, str], options: Mapping[str, object] = {}) -> None:
        """`options` are values from the command line by dotted key. Raises ConfigError."""
        self.file = file
        self.tree: dict[str, Any] = {}
        self._lines: dict[KeyPath, int] = {}
        if file is not None:
            text = _read(file)
            self.tree = _parse(text, file)
            self._lines = _line_numbers(text)
        self._said: dict[KeyPath, str] = {}
        self._texts: set[KeyPath] = set()
        for name in sorted(environ):
            first, nested, rest = name.removeprefix(PREFIX).partition("__")
            if name.startswith(PREFIX) and nested and environ[name].strip():  # an empty one says nothing
                self._set_variable(name, [first, *rest.split("__")], environ[name])
        for key, value in options.items():
            path = tuple(key.split("."))
            self._put(path, value, f"option --{path[-1].replace('_', '-')}")

    def place(self, path: KeyPath) -> str:
        """Who said the value at `path`, or the table that it is or should be in; "" if nobody did."""
        prefixes = [path[:length] for length in range(len(path), 0, -1)]
        for prefix in prefixes:  # first: what replaced a table of the file replaced its keys
            if prefix in self._said:
                return self._said[prefix]
        for prefix in prefixes:
            if prefix in self._lines:
                return f"{self.file}, line {self._lines[prefix]}"
        return str(self.file) if self.file is not None and len(path) > 1 else ""

    def says(self, path: KeyPath) -> bool:
        """Whether anybody said the value or the table at `path`."""
        value: Any = self.tree
        for part in path:
            there = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
            if part not in there:
                return False
            value = value[part]
        return True

    def is_text(self, path: KeyPath) -> bool:
        """Whether the value is text from a source that has nothing but text."""
        return path in self._texts

    def folder(self, path: KeyPath) -> Path:
        """The folder that a relative path in the value at `path` starts from."""
        said = any(path[:length] in self._said for length in range(1, len(path) + 1))
        return Path() if said or self.file is None else self.file.parent

    def error(self, path: KeyPath, problem: str) -> ConfigError:
        """The error about the value at `path`: `problem` continues a sentence that begins with the key."""
        place = self.place(path)
        return ConfigError(f"{dotted(path)}{f' ({place})' if place else ''} {problem}")

    def _set_variable(self, name: str, segments: list[str], value: str) -> None:
        path: list[str | int] = []
        table: Any = self.tree
        for segment in segments:
            if not segment:
                raise ConfigError(f"The environment variable {name} has a key of no letters between its underscores.")
            if isinstance(table, list):
                if path != ["keys"]:
                    raise ConfigError(f"The environment variable {name} must set the whole list {dotted(tuple(path))}.")
                # tables that are told apart by their names
                found: str | int = _position(table, segment)
                if found == len(table):
                    table.append({"name": segment.lower()})
                    self._said[(*path, found)] = f"environment variable {name}"
            else:
                found = _match(table, segment, header=path[-1:] == ["headers"])
            path.append(found)
            if len(path) < len(segments):
                table = self._open(table, path, name)
        self._put(tuple(path), _table(name, value), f"environment variable {name}")
        if isinstance(self._value(tuple(path)), str):
            self._texts.add(tuple(path))

    def _open(self, table: Any, path: list[str | int], name: str) -> Any:
        """The table at `path`, made if there is none (or something else, which this source overrides)."""
        inner = table[path[-1]] if isinstance(path[-1], int) else table.get(path[-1])
        if not isinstance(inner, (dict, list)):
            inner = [] if path == ["keys"] else {}
            table[path[-1]] = inner
            if len(path) > 1:
                self._said[tuple(path)] = f"environment variable {name}"
        return inner

    def _put(self, path: KeyPath, value: object, place: str) -> None:
        table: Any = self.tree
        for part in path[:-1]:
            table = table[part] if isinstance(part, int) else table.setdefault(part, {})
            if not isinstance(table, (dict, list)):
                raise ConfigError(f"{dotted(path[:-1])} must be a table, since the {place} sets a key in it.")
        table[path[-1]] = value
        self._said[path] = place
        self._texts.discard(path)

    def _value(self, path: KeyPath) -> Any:
        value: Any = self.tree
        for part in path:
            value = value[part]
        return value


def _match(table: Mapping[str, Any], segment: str, *, header: bool) -> str:
    """The key that a segment of a variable's name means: one that is there already, or the name in lower case."""
    wanted = segment.lower()
    for key in table:
        if key.lower().replace("-", "_") == wanted:
            return key
    return wanted.replace("_", "-") if header else wanted


def _position(tables: list[Any], segment: str) -> int:
    for index, table in enumerate(tables):
        if isinstance(table, dict) and str(table.get("name", "")).lower().replace("-", "_") == segment.lower():
            return index
    return len(tables)


def _table(name: str, value: str) -> object:
    """The value of a variable: a whole table if it is a JSON object, else its text."""
    value = value.strip()
    if not value.startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError as exc:
        raise ConfigError(f"The environment variable {name} begins like a JSON object and is none.") from exc


# The file


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file} is not a TOML file: it is not UTF-8 text.") from exc
    except OSError as exc:
        raise ConfigError(f"Cannot read the configuration file {file}: {exc.strerror}.") from exc


def _parse(text: str, file: Path) -> dict[str, Any]:
    import tomllib  # not needed where there is no file, and starting has to be quick

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        problem, _, where = str(exc).removesuffix(")").rpartition(" (at ")
        raise ConfigError(f"{file} is not valid TOML at {where.partition(',')[0]}: {problem}.") from exc
    except RecursionError as exc:
        raise ConfigError(f"{file} is not valid TOML: it is nested too deeply.") from exc


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_LINE = re.compile(
    rf"[ \t]*(?:\[\[[ \t]*(?P<array>{_KEY})[ \t]*\]\]|\[[ \t]*(?P<table>{_KEY})[ \t]*\]|(?P<key>{_KEY})[ \t]*=)"
)


def _line_numbers(text: str) -> dict[KeyPath, int]:
    """The line of each table header and key, found by their looks: tomllib says nothing about places.

    Good enough to point a reader there; a multi-line string that looks like settings can mislead it.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line)
        if match is None:
            continue
        parts = tuple(part.strip("\"'") for part in re.findall(_PART, match[match.lastgroup or 0]))
        if match["array"]:
            counts[parts] = counts.get(parts, -1) + 1
            parts = (*parts, counts[parts])
        elif match["table"] and parts[:1] in counts:  # [keys.key] belongs to the last of [[keys]]
            parts = (parts[0], counts[parts[:1]], *parts[1:])
        if match["key"]:
            parts = (*table, *parts)
        else:
            table = parts
        for length in range(len(table) if match["key"] else 0, len(parts)):
            lines.setdefault(parts[: length + 1], number)
    return lines
