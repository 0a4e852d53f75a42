"""The command line: `penstock serve`, `penstock config check`, `penstock config show`, `penstock keys`.

What goes wrong is told in one plain sentence on stderr, and the exit code is 1 (2 for a wrong command line).
The parts that serve are imported when serving, so that `--help` is there at once.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from .. import __version__
from .access import refusal_to_start
from .cli_common import Sorry, config_option
from .cli_keys import keys
from .config import Config, ConfigError, StartError, load

__all__ = ["cli"]


def _read(file: Path | None, **options: object) -> Config:
    said = {f"server.{name}": value for name, value in options.items() if value is not None}
    try:
        config = load(file, os.environ, options=said)
    except ConfigError as exc:
        raise Sorry(str(exc)) from exc
    # With a store there may be keys in it: who serves looks there first.
    refusal = refusal_to_start(config, keys=config.store_location is not None)
    if refusal is not None:
        raise Sorry(refusal)
    return config


def _rehearse(config: Config) -> None:
    """Put everything together as `serve` does, and let go of it. Raises StartError."""
    import trio

    from . import app
    from .listen import tls_context

    async def build() -> StartError | None:
        failure = None
        async with trio.open_nursery() as nursery:
            try:
                app.build(config, nursery)
            except StartError as exc:  # out of a nursery it would come as a group
                failure = exc
            nursery.cancel_scope.cancel()
        return failure

    if config.server.tls_cert:
        tls_context(config.server.tls_cert, config.server.tls_key)
    failure = trio.run(build)
    if failure is not None:
        raise failure


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="penstock", message="%(prog)s %(version)s")
def cli() -> None:
    """A gateway for streams of tokens: OpenAI's, Anthropic's and Ollama's APIs in front of any model server.

    \b
    Begin here; it needs no key and no network:
      penstock serve
    and paste what it prints into a second terminal:
      curl -N http://127.0.0.1:8777/v1/chat/completions -H 'content-type: application/json' \\
        -d '{"model": "echo/echo", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'

    \b
    With a provider's key in the environment, its models are there as well:
      OPENAI_API_KEY=... penstock serve          then call the model openai/gpt-4o-mini
      DEEPSEEK_API_KEY=... penstock serve        then call the model deepseek/deepseek-chat
    An Ollama on this machine is found by itself: ollama/NAME.

    \b
    Point any OpenAI client at it:
      OpenAI(base_url="http://127.0.0.1:8777/v1", api_key="none")
    """


cli.add_command(keys)


@cli.command()
@config_option
@click.option("--host", metavar="ADDRESS", help="Where to listen; beats the file.  [default: 127.0.0.1]")
@click.option("--port", type=int, metavar="PORT", help="0 takes any free port.  [default: 8777]")
@click.option(
    "--open-without-keys",
    is_flag=True,
    default=None,
    help="Listen where other machines can reach it although there are no API keys.",
)
@click.pass_context
def serve(
    context: click.Context, file: Path | None, host: str | None, port: int | None, open_without_keys: bool | None
) -> None:
    """Start the gateway, and serve until SIGTERM or Ctrl-C.

    \b
    Examples:
      penstock serve
      penstock serve --config penstock.toml
      penstock serve --port 9000
      PENSTOCK_TIMEOUTS__IDLE=60 penstock serve

    \b
    The smallest file, for any server that speaks OpenAI's API:
      [providers.local]
      base_url = "http://127.0.0.1:9000/v1"
      api_key = { env = "LOCAL_KEY" }
    Its models are then called local/NAME.

    The first signal lets streams finish (timeouts.drain, 30 s), the second ends at once.
    """
    config = _read(file, host=host, port=port, open_without_keys=open_without_keys)
    from . import app

    try:
        code = app.run(config)
    except StartError as exc:
        raise Sorry(str(exc)) from exc
    context.exit(code)


@cli.group()
def config() -> None:
    """Look at the configuration without serving."""


@config.command()
@config_option
def check(file: Path | None) -> None:
    """Check that the configuration could be served; exit code 1 if not. Nobody is called.

    \b
    Example:
      penstock config check --config penstock.toml
    """
    checked = _read(file)
    try:
        _rehearse(checked)
    except StartError as exc:
        raise Sorry(str(exc)) from exc
    keys = ", ".join(key.name for key in checked.keys) or "none, for this machine only"
    click.echo(f"{file or 'The configuration'} is fine. Providers: {', '.join(checked.providers)}. Keys: {keys}.")


@config.command()
@config_option
def show(file: Path | None) -> None:
    """Print every setting in effect and where it comes from; secrets are not shown.

    \b
    Example:
      PENSTOCK_SERVER__PORT=9000 penstock config show
    """
    from .config_show import show as text

    click.echo(text(_read(file)))
