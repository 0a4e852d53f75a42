"""Takes secrets out of text that is about to be shown: error messages, logs.

Two nets. What is known to be secret here (the keys of upstreams) goes wherever it stands, also
percent-encoded, as an upstream may quote it. What looks like a secret goes too: keys by their vendors'
prefixes, bearer tokens, user and password in a URL, `password=...` in a DSN, JSON web tokens. Rather a
harmless word too many than a key: errors stay readable, and the answers of models never come here.

Each pattern looks at every character a bounded number of times, and the result is bounded too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from ..protocol.chat import Failed

__all__ = ["MASK", "LogFormatter", "Redactor"]

MASK = "***"

MAX_TEXT = 65536
"""Characters of one text that are shown: what an error says is never so long."""

MAX_DEPTH = 32
"""Of an upstream's own error object; what lies deeper is not shown."""

MIN_SECRET = 4
"""A shorter "key" is a placeholder; taking out each of its occurrences would garble words."""

_VALUE = r"[^\s\"'`<>,;&)\]}]"

_NO_WORD = r"(?= [a-z]* [^a-z\s.,;:] )"
"""What follows is no word of a sentence, as in "API key: please log in" or "Bearer authentication failed"."""

_LOOKS_SECRET = re.compile(
    rf"""
      (?P<scheme> :// ) [^\s/?\#"'<>]{{1,512}} @                           # user:password@ in a URL or DSN
    | (?P<named> (?<![a-z0-9])
        (?: (?:x-)? api [-_ ]? key (?:[ ]provided)? | pass(?:word|wd) | pwd | (?:client[-_])? secret
          | (?:access|auth|refresh)[-_]token )
        ["']? \s{{0,4}} (?: = \s{{0,4}} ["']? | : \s{{0,4}} ["']? {_NO_WORD} )
        | [?&;\s] (?: key | token | sig | signature ) = )
      {_VALUE}{{3,}}                                                         # password=..., "api_key": "..."
    | (?P<bearer> (?<![a-z]) (?: bearer | basic ) \s{{1,4}} ) {_NO_WORD} {_VALUE}{{6,}}
    | (?<![a-z0-9]) (?: sk | pk | rk | csk | pplx | nvapi | xai | glpat | xox[abprs] ) - [a-z0-9_*.\-]{{6,}}
    | (?<![a-z0-9]) (?: gsk | hf | fw | r8 | gh[opsur] | github_pat ) _ [a-z0-9_]{{10,}}
    | (?<![a-z0-9]) (?: AIza [a-z0-9_\-]{{20,}} | AKIA [a-z0-9]{{12,}} )
    | (?<![a-z0-9_\-]) eyJ [a-z0-9_\-]{{8,}} \. [a-z0-9_\-]{{8,}} (?: \. [a-z0-9_\-]* )?
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Redactor:
    """Knows the secrets of this gateway. `text` and `failed` return what may be shown."""

    __slots__ = ("_known",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= MIN_SECRET for form in (secret, quote(secret, safe=""))}
        # The longest first: one secret may be the beginning of another.
        ordered = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` without secrets, and cut where it is too long to be shown."""
        if len(text) > MAX_TEXT:
            # A secret that the cut has halved could not be recognised: the last word goes with it.
            text = text[:MAX_TEXT].rpartition(" ")[0] + " ..."
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _LOOKS_SECRET.sub(_mask, text)

    def failed(self, failed: Failed) -> Failed:
        """The same failure with nothing secret in what it says, in the upstream's own words too."""
        return failed._replace(
            message=self.text(failed.message),
            type=self.text(failed.type),
            code=self._inside(failed.code),
            param=self._inside(failed.param),
            native=self._inside(failed.native),
        )

    def _inside(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (dict, list)) and depth == MAX_DEPTH:
            return MASK
        if isinstance(value, dict):
            return {self.text(str(key)): self._inside(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._inside(inner, depth + 1) for inner in value]
        return value


def _mask(match: re.Match[str]) -> str:
    if match["scheme"]:
        return f"{match['scheme']}{MASK}@"
    return f"{match['named'] or match['bearer'] or ''}{MASK}"


class LogFormatter(logging.Formatter):
    """Formats log records, tracebacks included, without secrets."""

    def __init__(self, redactor: Redactor, format: str) -> None:
        super().__init__(format)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(super().format(record))
