"""Where the store is: a file of SQLite, or a PostgreSQL server, from the URL that a user wrote.

    sqlite:///relative/file.db    sqlite:////absolute/file.db    postgresql://user@host:5432/name

Without a URL it is `penstock.db` in the folder where this system keeps a user's data. `shown` is how a location
is called in errors and logs: never with a user, a password or parameters.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["Location", "default_file", "default_folder", "locate"]

FILE_NAME = "penstock.db"


class Location(NamedTuple):
    """A place for a store. Exactly one of `file` and `url` is there."""

    shown: str
    file: Path | None = None
    url: str = ""

    def __repr__(self) -> str:
        return f"<Location {self.shown}>"

    @property
    def password(self) -> str:
        """The password in the URL; "" if there is none."""
        return unquote(urlsplit(self.url).password or "")


def default_folder(environ: Mapping[str, str]) -> Path | None:
    """The folder for penstock's data, by the system's custom; None where there is no home."""
    data = environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):  # the XDG text: "All paths set in these environment variables must be absolute"
        return Path(data) / "penstock"
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        return None
    data = "Library/Application Support" if sys.platform == "darwin" else ".local/share"
    return Path(home) / data / "penstock"


def default_file(environ: Mapping[str, str]) -> Path | None:
    """The file that is the store if no URL is given; None where there is no home."""
    folder = default_folder(environ)
    return None if folder is None else folder / FILE_NAME


def locate(url: str, environ: Mapping[str, str], folder: Path = Path()) -> Location:
    """The location that `url` means, "" being the default; a relative file starts from `folder`.

    Raises ValueError with the end of a sentence that begins with the setting's name.
    """
    if not url:
        file = default_file(environ)
        if file is None:
            raise ValueError("has no default here, since HOME is not set; give it.")
        return Location(str(file), file=file)
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        return _file(rest, environ, folder)
    if separator and scheme in ("postgresql", "postgres"):
        return _server(rest)
    raise ValueError("must be an address like sqlite:///penstock.db or postgresql://user@host/name.")


def _file(rest: str, environ: Mapping[str, str], folder: Path) -> Location:
    path = unquote(rest.removeprefix("/"))
    if not rest.startswith("/") or not path or path == ":memory:" or "?" in path or "\0" in path:
        raise ValueError(
            "must name a file, as in sqlite:///penstock.db (relative) or sqlite:////var/lib/penstock.db (absolute)."
        )
    if path.startswith("~/") and environ.get("HOME"):
        path = environ["HOME"] + path[1:]
    file = (folder / path).absolute()
    return Location(str(file), file=file)


def _server(rest: str) -> Location:
    url = f"postgresql://{rest}"
    problem = "must be an address like postgresql://user@host:5432/name."
    if re.search(r"[\s\0]", url):
        raise ValueError(problem)
    try:
        parts = urlsplit(url)
        host, port, name = parts.hostname or "", parts.port, unquote(parts.path.removeprefix("/"))
    except ValueError as exc:
        raise ValueError(problem) from exc
    if not name or "/" in name:
        raise ValueError(problem)
    where = host + (f":{port}" if port else "")
    return Location(f"postgresql://{where}/{name}", url=url)
