"""What goes wrong in the store, told as one error whose message may be shown to anybody.

Drivers and SQLAlchemy put the statement, its parameters and the address into what they raise; these hold
digests of keys, prompts and passwords. So none of that is ever repeated: a message is a sentence of ours, and
where the driver's own word helps an operator, only such words as cannot hold a value.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["Kind", "StoreError"]

Kind = Literal["unavailable", "busy", "conflict", "rejected", "newer", "closed"]


class StoreError(Exception):
    """The store did not do it. The message is one plain sentence, without SQL, values or secrets.

    `kind` says what to make of it:

    - `unavailable`: it cannot be reached, opened or written now; a later try may succeed. If it broke while
      committing, the write may have been done.
    - `busy`: so many wait already that nobody else is let in; nothing was done.
    - `conflict`: the name is taken, or somebody else was faster; nothing was done.
    - `rejected`: the store took exception to the data; nothing was done, and trying again is of no use.
    - `newer`: its tables were made by a newer penstock.
    - `closed`: we are going down.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
