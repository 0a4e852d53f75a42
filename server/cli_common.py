"""What the commands share: how they end in failure, and which configuration they read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

__all__ = ["Sorry", "config_option"]

F = TypeVar("F", bound=Callable[..., Any])


class Sorry(click.ClickException):
    """Ends the command with its message on stderr, and exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"penstock: {self.message}", file=file, err=file is None)


def config_option(command: F) -> F:
    """The option that names the configuration."""
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        envvar="PENSTOCK_CONFIG",
        metavar="FILE",
        help="A TOML file (or the variable PENSTOCK_CONFIG). Without one, what the environment offers is used.",
    )(command)
