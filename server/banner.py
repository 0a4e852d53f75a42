"""What `penstock serve` prints when it listens: what to paste next, and who is behind it.

A printed line has to work when it is pasted; so the model is one that the key it shows may use.
"""

from __future__ import annotations

import shlex

from msgspec import UNSET

from .. import __version__
from ..providers.presets import PRESETS, key_variable
from ..providers.settings import SecretSource
from .config import Config

__all__ = ["banner"]

_BODY = '{{"model": "{model}", "stream": true, "messages": [{{"role": "user", "content": "Привет, বাংলা 👋"}}]}}'


def banner(config: Config, url: str, *, needs_key: bool = False) -> str:
    """The text for a gateway that listens on `url` (`http://127.0.0.1:8777`). `needs_key`: keys are demanded, be they
    of the configuration or of the store."""
    model = _model(config)
    variable = _key_variable(config)
    here = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")  # all addresses: this one too
    curl = [f"curl -N {here}/v1/chat/completions", "-H 'content-type: application/json'"]
    key = '"none"'
    if config.keys or needs_key:
        shown = f"${variable}" if variable else "<your key>"
        curl.append(f'-H "authorization: Bearer {shown}"')
        key = f'os.environ["{variable}"]' if variable else '"<your key>"'
    curl.append(f"-d {shlex.quote(_BODY.format(model=model))}")
    rows = [_row(config, name) for name in config.providers]
    wide = max(map(len, config.providers), default=0)
    return "\n".join(
        [
            f"penstock {__version__} listens on {url}",
            "",
            "Try it:",
            "  " + " \\\n    ".join(curl),
            "",
            "With an OpenAI SDK:",
            f'  client = OpenAI(base_url="{here}/v1", api_key={key})',
            f'  client.chat.completions.create(model="{model}", stream=True, messages=[...])',
            "",
            "Providers (models are called provider/model):",
            *(f"  {name:<{wide}}  {row}" for name, row in zip(config.providers, rows, strict=True)),
        ]
    )


def _model(config: Config) -> str:
    """A model to try: one that is known to exist, and that the first key may use."""
    known = []
    for name, settings in config.providers.items():
        models = PRESETS[settings.preset].models if settings.models is UNSET else settings.models
        known += [f"{name}/{model}" for model in models]
    usable = [model for model in known if not config.keys or config.keys[0].may_use(model)]
    # echo answers without a key and without a network
    return min(usable, key=lambda model: model != "echo/echo", default="<provider>/<model>")


def _key_variable(config: Config) -> str:
    """The variable that has the first key; "" if there is no key, or it is in a file."""
    source = config.shape.keys[0].key if config.keys else SecretSource()
    return "" if source.env is UNSET else source.env


def _row(config: Config, name: str) -> str:
    settings = config.providers[name]
    preset = PRESETS[settings.preset]
    if preset.embedded:
        return "built in, needs no key"
    address = preset.base_url if settings.base_url is UNSET else settings.base_url
    address = address.partition("?")[0]
    if name in config.offered and name == "ollama":
        return f"{address}, if one runs there"
    if settings.api_key is not UNSET:
        source = settings.api_key
        return f"{address}, key from {source.file if source.env is UNSET else source.env}"
    variable = key_variable(settings)
    if name in config.secrets:
        return f"{address}, key from {variable}"
    if not variable or preset.dialect == "ollama":  # a server of one's own, which seldom wants a key
        return address
    return f"{address}, no key: {variable} is not set"
