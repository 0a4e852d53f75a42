"""The `penstock` command. It works from the bare install too, and then says what is missing.

Only the standard library is imported before that is known.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]

_NEEDED = ("alembic", "click", "h11", "httpx", "msgspec", "sqlalchemy", "trio")


def main() -> None:
    """Run the command line, and exit."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            "penstock: the gateway needs packages that are not installed "
            f"({', '.join(missing)}); install them with: pip install 'penstock[server]'"
        )
    from .cli import cli

    cli(prog_name="penstock")
