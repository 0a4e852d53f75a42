"""`penstock keys`: make, list, revoke and rotate the API keys in the store.

It works on the store itself, whether a gateway runs or not; one that runs notices within seconds. On stdout is
what a script wants (the key alone, or JSON), everything else is on stderr. SQLAlchemy is imported when a command
is under way, so that `--help` is there at once.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .access import is_origin
from .cli_common import Sorry, config_option
from .config import ConfigError, store_location
from .key_facts import facts, fault_in_expiry, fault_in_name, moment_text
from .store.errors import StoreError

if TYPE_CHECKING:
    from .store.database import Database
    from .store.key_rows import StoredKey
    from .store.location import Location

__all__ = ["keys"]

NOTICED = "A gateway that runs notices within 5 seconds."
"""The bound is `store.keys.STALE_SECONDS`; a test holds the two together."""


MOST = 2**53
"""A limit beyond this is none."""


def duration(text: str) -> float:
    """The seconds of a length of time: 90s, 45m, 12h, 30d."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no length of time like 90s, 45m, 12h or 30d.")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def moment(text: str) -> float:
    """A moment to come, in seconds since 1970: a length of time from now, or a date, of UTC if it names no other."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        when = time.time() + duration(text)
    else:
        when = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if fault := fault_in_expiry(when, time.time()):
        raise click.BadParameter(f"{text}: {fault}")
    return when


def count(text: str) -> int:
    """A whole number, 0 for no limit."""
    if not re.fullmatch(r"[0-9]{1,16}", text) or int(text) > MOST:
        raise click.BadParameter(f"{text!r} is no whole number from 0 to {MOST}.")
    return int(text)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate the API keys that clients show.

    \b
    The shortest way to a gateway that other machines can use:
      penstock keys create laptop
      penstock serve --host 0.0.0.0

    Keys are kept in the store: a SQLite file in your data folder, or what [store] says in the
    configuration. Only their digests are, so a key is shown once, when it is made.
    """


@keys.command()
@click.argument("name")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATTERN",
    help="A model that the key opens, as provider/model; * stands for anything. May be repeated.  [default: *]",
)
@click.option("--requests-per-minute", type=count, default="0", metavar="N", help="0 for no limit.  [default: 0]")
@click.option("--tokens-per-minute", type=count, default="0", metavar="N", help="0 for no limit.  [default: 0]")
@click.option(
    "--parallel", type=count, default="0", metavar="N", help="Requests at once; 0 for no limit.  [default: 0]"
)
@click.option(
    "--token-budget", type=count, default="0", metavar="N", help="Tokens in a period; 0 for no limit.  [default: 0]"
)
@click.option(
    "--budget-period",
    type=click.Choice(["day", "month", "total"]),
    default="total",
    help="When the budget begins anew, by UTC.  [default: total, which is never]",
)
@click.option("--expires", type=moment, metavar="WHEN", help="30d, 12h, or a date like 2027-01-31.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="A web page's origin, if the key is only for pages of some. May be repeated.",
)
@click.option("--user", default="", metavar="NAME", help="Whose key it is, for the accounts.")
@as_json
@config_option
def create(
    name: str,
    models: tuple[str, ...],
    origins: tuple[str, ...],
    user: str,
    as_json: bool,
    file: Path | None,
    **more: Any,
) -> None:
    """Make a key, and print it: it is never shown again.

    \b
    Examples:
      penstock keys create laptop
      penstock keys create ci --model 'openai/*' --expires 30d
      penstock keys create team --requests-per-minute 60 --parallel 4
      penstock keys create trial --token-budget 1000000 --budget-period month
      KEY=$(penstock keys create script)
    """
    if fault := fault_in_name(name):
        raise Sorry(fault)
    for origin in origins:
        if not is_origin(origin):
            raise Sorry(f"{origin!r} is no origin like https://chat.example.com, without a path.")
    with _opened(_location(file)) as store:
        from .store import key_rows

        more["expires_at"] = more.pop("expires")
        terms = key_rows.Terms(models=models or ("*",), origins=origins, **more)
        secret, now = key_rows.new_secret(), time.time()
        key = store.write(partial(key_rows.insert, secret=secret, name=name, terms=terms, user=user, now=now))
        if key is None:
            raise Sorry(f"There is a key named {name!r} already; revoke or rotate it, or take another name.")
    _tell(secret, key, as_json, f"The key {name!r} is in {store.location.shown}. It is shown only now.")


@keys.command("list")
@click.option("--all", "every", is_flag=True, help="Also those that are revoked.")
@as_json
@config_option
def list_(every: bool, as_json: bool, file: Path | None) -> None:
    """List the keys, by name and what they may do; the keys themselves are not kept.

    \b
    Examples:
      penstock keys list
      penstock keys list --all --json
    """
    location, found = _location(file), []
    if not _is_absent(location):
        with _opened(location) as store:
            from .store import key_rows

            found = [key for key in store.read(key_rows.every) if every or key.revoked_at is None]
    if as_json:
        click.echo(json.dumps([facts(key) for key in found], indent=2))
    elif found:
        click.echo(_table(found))
    else:
        click.echo("There are no keys; make one: penstock keys create NAME", err=True)


@keys.command()
@click.argument("name")
@config_option
def revoke(name: str, file: Path | None) -> None:
    """End a key for good. Its sessions and accounts stay.

    \b
    Example:
      penstock keys revoke ci
    """
    location = _location(file)
    if _is_absent(location):
        raise _unknown(name)
    with _opened(location) as store:
        from .store import key_rows

        if store.write(partial(key_rows.revoke, name=name, now=time.time())) is None:
            raise _unknown(name)
    click.echo(f"The key {name!r} is revoked. {NOTICED}", err=True)


@keys.command()
@click.argument("name")
@click.option("--grace", type=duration, default="0s", metavar="TIME", help="How long the old key stays good, as 1h.")
@as_json
@config_option
def rotate(name: str, grace: float, as_json: bool, file: Path | None) -> None:
    """Put a new key in the place of an old one, and print it. All else stays: limits, sessions, budget.

    \b
    Examples:
      penstock keys rotate ci
      penstock keys rotate ci --grace 24h     while you hand the new one out
    """
    location = _location(file)
    if _is_absent(location):
        raise _unknown(name)
    with _opened(location) as store:
        from .store import key_rows

        secret, now = key_rows.new_secret(), time.time()
        key = store.write(partial(key_rows.rotate, secret=secret, name=name, now=now, grace=grace))
        if key is None:
            raise _unknown(name)
    until = f" until {moment_text(key.old_until)}" if key.old_until else ""
    old = f"The old one is good{until}." if until else f"The old one is good no more. {NOTICED}"
    _tell(secret, key, as_json, f"The key {name!r} is a new one. It is shown only now. {old}")


def _location(file: Path | None) -> Location:
    """Where the configuration has the store."""
    try:
        location = store_location(file, os.environ)
    except ConfigError as exc:
        raise Sorry(str(exc)) from exc
    if location is None:
        raise Sorry("There is no store to keep keys in: store.enabled is false.")
    return location


@contextmanager
def _opened(location: Location) -> Iterator[Database]:
    """The store there, made if there is none; what goes wrong with it ends the command in one sentence."""
    from .store.database import Database

    try:
        with Database(location) as database:
            yield database
    except StoreError as exc:
        raise Sorry(exc.message) from exc


def _is_absent(location: Location) -> bool:
    """Whether there is no store yet: to look into it is no reason to make one."""
    return location.file is not None and not location.file.exists()


def _unknown(name: str) -> Sorry:
    return Sorry(f"There is no key named {name!r}; see: penstock keys list")


def _tell(secret: str, key: StoredKey, as_json: bool, words: str) -> None:
    if as_json:
        click.echo(json.dumps({"key": secret, **facts(key)}, indent=2))
    else:
        click.echo(secret)
        click.echo(words, err=True)


def _table(found: list[StoredKey]) -> str:
    rows = [["NAME", "KEY", "STATE", "MODELS", "LIMITS", "LAST USED"]]
    for key in found:
        used = (moment_text(key.last_used_at) or "never")[:16].replace("T", " ")
        rows.append([key.name, key.hint, key.state(time.time()), " ".join(key.models), _limits(key), used])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _limits(key: StoredKey) -> str:
    terms = key.terms
    said = [
        (terms.requests_per_minute, f"{terms.requests_per_minute} requests/min"),
        (terms.tokens_per_minute, f"{terms.tokens_per_minute} tokens/min"),
        (terms.parallel, f"{terms.parallel} at once"),
        (terms.token_budget, f"{terms.token_budget} tokens/{terms.budget_period}"),
        (terms.expires_at, f"until {(moment_text(terms.expires_at) or '')[:10]}"),
    ]
    return ", ".join(words for value, words in said if value) or "none"
