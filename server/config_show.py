"""The configuration in effect as text: TOML, with where each value comes from as comments.

Secrets are not in it: of a key only its source is shown, and values of headers are masked. But for those,
the text could be read again as a configuration that says the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from ..providers.headers import REQUEST_RULES, RESPONSE_RULES, rules
from ..providers.presets import PRESETS, Preset
from ..providers.settings import DEFAULT_TIMEOUTS, HeaderRules, ProviderSettings, TimeoutSettings
from .config import Config
from .config_sources import KeyPath, dotted
from .redaction import MASK, Redactor

__all__ = ["show"]

Line = tuple[KeyPath, Any, str]


def show(config: Config) -> str:
    """Every setting with its effective value, one a line, with its origin as a comment."""
    redactor = Redactor(config.secrets.values())
    lines = [(f"{dotted(path)} = {_toml(value)}", origin) for path, value, origin in _settings(config)]
    for index, key in enumerate(config.shape.keys):
        lines += [("", ""), ("[[keys]]", config.sources.place(("keys", index)))]
        lines += [(f"{name} = {_toml(value)}", "") for name, value in _said(key)]
    width = min(max(len(text) for text, _ in lines), 60)
    return "\n".join(redactor.text(f"{text:<{width}}  # {origin}" if origin else text) for text, origin in lines)


def _settings(config: Config) -> Iterator[Line]:
    path: KeyPath
    there = ("server", "timeouts", "limits", "sessions")
    for section in there if config.store_location is None else (*there, "store"):
        for name, value in msgspec.structs.asdict(getattr(config, section)).items():
            path = (section, name)
            yield path, getattr(DEFAULT_TIMEOUTS, name) if value is UNSET else value, _origin(config, path)
    for direction, usual in (("request", REQUEST_RULES), ("response", RESPONSE_RULES)):
        yield from _rules(config, ("headers", direction), rules(usual, getattr(config.headers, direction)))
    for name, provider in config.providers.items():
        yield from _provider(config, name, provider)
    for name, route in config.routes.items():
        path = ("routes", name, "providers")
        yield path, route.providers, _origin(config, path)
    for name, target in config.aliases.items():
        path = ("aliases", name)
        yield path, target, _origin(config, path)


def _provider(config: Config, name: str, settings: ProviderSettings) -> Iterator[Line]:
    preset = PRESETS[settings.preset]
    for key, value in msgspec.structs.asdict(settings).items():
        path: KeyPath = ("providers", name, key)
        if key == "timeouts":
            yield from _timeouts(config, path, value, preset)
        elif key == "headers":
            for header in value:
                yield (*path, header), MASK, _origin(config, (*path, header))
        elif key in ("request_headers", "response_headers"):
            yield from _rules(config, path, value)
        elif key == "base_url" and value is UNSET:
            if not preset.embedded:
                yield path, preset.base_url, f"preset {preset.name}"
        elif value is not UNSET:
            yield path, value, _origin(config, path)


def _rules(config: Config, path: KeyPath, said: HeaderRules) -> Iterator[Line]:
    for name, value in _said(said):
        shown = dict.fromkeys(value, MASK) if name == "add" else value
        yield (*path, name), shown, _origin(config, (*path, name))


def _timeouts(config: Config, path: KeyPath, given: TimeoutSettings, preset: Preset) -> Iterator[Line]:
    for name, seconds in _said(given):
        yield (*path, name), seconds, _origin(config, (*path, name))
    for name, seconds in _said(preset.timeouts):
        # Beaten by what was said about this provider, and by what was said about all.
        if getattr(given, name) is UNSET and getattr(config.timeouts, name) is UNSET:
            yield (*path, name), seconds, f"preset {preset.name}"


def _origin(config: Config, path: KeyPath) -> str:
    if config.sources.says(path):
        return config.sources.place(path)
    if path[0] == "providers" and path[1] in config.offered and path[2] in ("preset", "base_url"):
        return "built in" if path[1] == "echo" else "found in the environment"
    return "default"


def _said(settings: msgspec.Struct) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in msgspec.structs.asdict(settings).items() if value is not UNSET]


def _toml(value: Any) -> str:
    """A value as TOML has it; its basic strings are JSON's."""
    if isinstance(value, msgspec.Struct):
        value = dict(_said(value))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{dotted((key,))} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
