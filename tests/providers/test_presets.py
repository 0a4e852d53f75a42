"""The table of presets: the data itself, and the page that shows it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from penstock.providers.presets import PRESETS, Preset, key_variable
from penstock.providers.settings import ProviderSettings

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"


def row(preset: Preset) -> str:
    """A preset as docs/providers.md shows it."""
    said = {key: value for key, value in msgspec.structs.asdict(preset.timeouts).items() if value is not UNSET}
    timeouts = ", ".join(f"`{key} = {value:g}`" for key, value in said.items()) or "-"
    address = "in the process" if preset.embedded else f"`{preset.base_url}`"
    key = f"`{preset.key_env}`" if preset.key_env else "-"
    operations = [f"`{name}`" for name in preset.operations] + [f"`{name}` ✱" for name in preset.own_operations]
    return f"| `{preset.name}` | {preset.dialect} | {address} | {key} | {', '.join(operations)} | {timeouts} |"


def test_the_page_shows_the_presets_as_they_are() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("| preset |"))
    shown = lines[head + 2 : head + 2 + len(PRESETS)]
    assert shown == [row(preset) for preset in PRESETS.values()]
    assert not lines[head + 2 + len(PRESETS)].startswith("|")


@pytest.mark.parametrize("name", ["openai", "deepseek", "openrouter", "anthropic", "ollama", "echo"])
def test_each_preset_is_there_under_its_name(name: str) -> None:
    assert PRESETS[name].name == name


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        PRESETS["openai"].base_url = "http://elsewhere"
    with pytest.raises(TypeError):
        PRESETS["openai"] = PRESETS["echo"]  # type: ignore[index]


def test_a_vendors_key_goes_to_that_vendor_only() -> None:
    assert key_variable(ProviderSettings(preset="openai")) == "OPENAI_API_KEY"
    assert key_variable(ProviderSettings(preset="openai", base_url="http://127.0.0.1:9000/v1")) == ""
