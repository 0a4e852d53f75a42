"""Which headers travel: from a client to an upstream, and from the upstream's answer to the client.

A policy allows names by patterns, denies some of those, renames and adds. It is the user's to write
(`settings.HeaderRules`); what no policy can change stands in `NEVER`: a client's credentials, what frames a message or
concerns one connection only, what proxies and browsers say of a client, and names that are the gateway's own. So
neither a careless pattern nor a client can send a key of ours or of theirs somewhere, or split a message.

Headers come in as `protocol.head` and the transports have read them, without control characters; a value that is not
printable ASCII stays here all the same. What a policy says of a name is remembered, so that a request pays a look-up
for each of its headers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

import msgspec
from msgspec import UNSET

from .. import __version__
from .presets import Preset
from .settings import HeaderRules

__all__ = [
    "ANTHROPICS",
    "NEVER",
    "NEVER_BEGINNINGS",
    "REQUEST_RULES",
    "RESPONSE_RULES",
    "HeaderPolicy",
    "fixed_headers",
    "may_travel",
    "rules",
]

REQUEST_RULES = HeaderRules(
    allow=["traceparent", "tracestate", "http-referer", "x-*"],
    deny=[
        *("x-*auth*", "x-*token*", "x-*key*", "x-*secret*", "x-*password*", "x-*credential*", "x-*cookie*"),
        *("x-*csrf*", "x-*xsrf*", "x-*jwt*", "x-*assertion*", "x-*signature*", "x-*principal*"),
        *("x-*user*", "x-*email*", "x-*-ip", "x-amz*", "x-ms-*", "x-goog-*", "x-envoy-*", "x-openwebui-*"),
        "x-requested-with",
    ],
    rename={},
    add={},
)
"""Of a request: a client's own `X-` headers and those that tie traces together; but nothing that by its name is a
secret, or says who the user is, or was put there by a proxy or a browser."""

RESPONSE_RULES = HeaderRules(
    allow=["x-*", "retry-after", "retry-after-ms"],
    deny=[
        *("x-*-token", "x-*key*", "x-*secret*", "x-*auth*", "x-*cookie*"),
        *(
            "x-amz*",
            "x-ms-*",
            "x-goog-*",
            "x-envoy-*",
            "x-cache*",
            "x-served-by",
            "x-timer",
            "x-powered-by",
            "x-aspnet*",
        ),
        *("x-frame-options", "x-xss-protection", "x-content-type-options"),
        *("x-robots-tag", "x-ua-compatible"),
    ],
    rename={"x-request-id": "x-upstream-request-id"},
    add={},
)
"""Of an answer: the upstream's limits, its request id under another name, and what it says beyond that; but nothing
about what stands before it."""

_FRAMING = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "expect", "host", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "x-request-id"}
)
"""Headers that settings cannot set: how a message is framed is not the user's to say."""

_HOP = frozenset(
    {"accept", "accept-ranges", "alt-svc", "cache-control", "date", "forwarded", "keep-alive", "origin"}
) | {
    *("range", "server", "vary", "via"),
}
_SECRETS = frozenset(
    {"api-key", "authorization", "cookie", "cookie2", "set-cookie", "set-cookie2", "www-authenticate", "x-api-key"}
    | {"x-goog-api-key"}
)
NEVER = (_FRAMING - {"x-request-id"}) | _HOP | _SECRETS | {"openai-processing-ms", "x-session-id"}
NEVER_BEGINNINGS = (
    *("content-", "proxy-", "sec-", "if-", "access-control-", "x-penstock-", "x-stainless-", "x-forwarded-"),
    *("x-real-ip", "x-original-", "x-rewrite-", "x-http-method", "x-method-override", "x-accel-", "x-sendfile"),
)
"""Names, and beginnings of names, that no policy lets through. By the last ones a server behind a proxy, or the proxy
itself, takes a message for another one."""

MAX_NAME = 128

ANTHROPICS = frozenset({"anthropic-version", "anthropic-beta"})
"""They go to an upstream of Anthropic's dialect whatever the policy says: by them the body is read."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110, 5.6.2, in lower case

REMEMBERED = 1024
"""Names of headers of which is remembered what a policy says; clients may make up any number."""


def _can_be_carried(value: str) -> bool:
    """Whether a header can have this value."""
    return value.isascii() and value.isprintable() and value == value.strip()


@lru_cache(maxsize=REMEMBERED)
def may_travel(name: str) -> bool:
    """Whether there may be a policy that lets a header of this (lower-case) name through."""
    return name not in NEVER and not name.startswith(NEVER_BEGINNINGS) and len(name) <= MAX_NAME


def rules(*said: HeaderRules) -> HeaderRules:
    """What was said, the later ones winning, member by member."""
    members = {name: value for one in said for name, value in msgspec.structs.asdict(one).items() if value is not UNSET}
    return HeaderRules(**members)


class HeaderPolicy:
    """One direction's policy; members that `settings` does not say are empty. Raises ValueError, in one plain phrase,
    for names and values that cannot be."""

    __slots__ = ("_allow", "_deny", "_known", "_rename", "added")

    def __init__(self, settings: HeaderRules) -> None:
        self._allow, self._deny = _matcher(settings.allow or ()), _matcher(settings.deny or ())
        self._rename = {name.lower(): other.lower() for name, other in (settings.rename or {}).items()}
        self.added = {name.lower(): value for name, value in (settings.add or {}).items()}
        """What is added to each message."""
        for name in (*self._rename, *self._rename.values(), *self.added):
            if not name or not _TOKEN.issuperset(name) or not may_travel(name):
                raise ValueError(f"{name!r} is no header that can be set or passed on")
        for name, value in self.added.items():
            if not _can_be_carried(value):
                raise ValueError(f"no header can carry the value of {name!r}")
        self._known: dict[str, str] = {}

    def passed(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """What goes on of these headers (names in lower case), by the names under which it does."""
        found: dict[str, str] = {}
        known = self._known
        for name, value in headers:
            other = known.get(name)
            if other is None:
                other = self._learn(name)
            if other and _can_be_carried(value):
                found[other] = value
        return found

    def chosen(self, headers: Iterable[tuple[str, str]], names: Collection[str]) -> dict[str, str]:
        """Those of these names, which go on whatever the policy says."""
        return {name: value for name, value in headers if name in names and _can_be_carried(value)}

    def _learn(self, name: str) -> str:
        other = ""
        if may_travel(name) and self._allow.fullmatch(name) and not self._deny.fullmatch(name):
            other = self._rename.get(name, name)
        if len(self._known) < REMEMBERED:
            self._known[name] = other
        return other


def _matcher(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for all patterns; `*` stands for anything. Raises ValueError for what is no pattern."""
    told = []
    for pattern in patterns:
        name = pattern.lower()
        if not name or not _TOKEN.issuperset(name):
            raise ValueError(f"{pattern!r} is no name of a header, nor a pattern of one")
        told.append(".*".join(map(re.escape, re.sub(r"\*+", "*", name).split("*"))))
    return re.compile("|".join(told) if told else "(?!)")


def fixed_headers(
    name: str, preset: Preset, added: Mapping[str, str], wanted: Mapping[str, str], key: str
) -> list[tuple[str, str]]:
    """The headers of every request to a provider: ours, the preset's, the policy's, the user's, each beating the
    former. Raises ValueError for what cannot be set."""
    headers = {"user-agent": f"penstock/{__version__}", **dict(preset.headers), **added}
    if key and preset.auth != "none":
        if not _can_be_carried(key):
            raise ValueError(f"the API key of provider '{name}' has characters that no header can carry")
        headers |= {"authorization": f"Bearer {key}"} if preset.auth == "bearer" else {preset.auth: key}
    headers |= {header.lower(): value for header, value in wanted.items()}
    for header, value in headers.items():
        if not header or not _TOKEN.issuperset(header) or header in _FRAMING:
            raise ValueError(f"headers of provider '{name}': {header!r} cannot be set")
        if not _can_be_carried(value):
            raise ValueError(f"headers of provider '{name}': no header can carry the value of {header!r}")
    return list(headers.items())
