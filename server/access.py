"""Who may come in, from where, and what a key opens.

**Keys.** With keys configured, a request shows one of them. The ring holds SHA-256 digests, never the keys,
and compares what was shown with all of them in constant time, so that timing tells nothing. What a key may
use is judged on what is really called, `provider/model`: an alias, a route or a fallback opens nothing.

**Without keys** only this machine is served, and the danger is the user's own browser. Any page on the web
may send requests to 127.0.0.1, and a POST of text/plain needs no preflight: it would spend the user's money
even though the page cannot read the answer. So a request that bears an `Origin` that is not allowed is
refused, before anything is dispatched. That alone is not enough: a page at http://evil.example can let its
name point to 127.0.0.1 once it is loaded (DNS rebinding); then the browser takes us for the page's own
server, sends no foreign Origin, and lets the page read everything. But it still sends the page's name as
`Host`. So `Host` must be a name that nobody else can own: a loopback name, one that the user has allowed, or,
where the user has bound another address and said `open_without_keys`, a bare address (rebinding needs a
name). With keys none of this is needed: a page has no key, and browsers add none by themselves.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import Config

__all__ = [
    "KEY_HEADERS",
    "Access",
    "Key",
    "KeyRing",
    "is_host_name",
    "is_loopback",
    "is_origin",
    "refusal_to_start",
    "shown_keys",
]

KEY_HEADERS = ("authorization", "api-key", "x-api-key")
"""Where clients show a key: OpenAI's, Azure's and Anthropic's ways."""

MAX_SHOWN = 4096
"""Characters of a credential that are looked at; longer ones are no key of ours."""


class Key:
    """One key: its name for logs and accounts, its digest, and the models that it opens. `admin`: also the keys."""

    __slots__ = ("_patterns", "admin", "digest", "models", "name")

    def __init__(self, name: str, digest: bytes, models: Sequence[str] = ("*",), *, admin: bool = False) -> None:
        self.name = name
        self.admin = admin
        self.digest = digest
        self.models = tuple(models)
        self._patterns = [re.compile(fnmatch.translate(pattern)) for pattern in models]

    def __repr__(self) -> str:
        return f"<Key {self.name!r}>"

    @property
    def opens_all(self) -> bool:
        """Whether there is no model that it does not open."""
        return "*" in self.models

    def may_use(self, model: str) -> bool:
        """Whether it opens `provider/model`; in the patterns `*` stands for anything, slashes too."""
        return any(pattern.match(model) for pattern in self._patterns)


def shown_keys(headers: Mapping[str, str]) -> list[str]:
    """What a request shows as a key, as `Authorization: Bearer`, `api-key` or `x-api-key`.

    All three count: SDKs send a dummy in one of them while the user's key is in another.
    """
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    shown = (
        bearer.strip() if scheme.lower() == "bearer" else "",
        headers.get("api-key", ""),
        headers.get("x-api-key", ""),
    )
    return [credential for credential in shown if 0 < len(credential) <= MAX_SHOWN]


class KeyRing:
    """All keys. False when there are none, and then nobody is asked for one."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = list(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def identify(self, headers: Mapping[str, str]) -> Key | None:
        """The key that a request shows."""
        found = None
        for credential in shown_keys(headers):
            found = self._find(credential) or found
        return found

    def _find(self, credential: str) -> Key | None:
        digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in self._keys:  # all of them, also after a match
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found


class Access:
    """Judges `Host` and `Origin` by the configuration."""

    __slots__ = ("_addresses", "_any_origin", "_names", "_origins", "_suffixes")

    def __init__(self, config: Config) -> None:
        server = config.server
        names = {name.strip("[]").lower() for name in [server.host, *server.allowed_hosts]}
        self._names = {name for name in names if not name.startswith("*")}
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*"))
        self._addresses = server.open_without_keys and not is_loopback(server.host)
        self._origins = {origin.lower() for origin in server.allowed_origins}
        self._any_origin = "*" in self._origins

    def refuse_foreign(self, host: str | None, origin: str | None) -> str | None:
        """Why a request with these headers is refused, in a sentence for its sender; None if it is not.

        A request without `Host` comes from no browser and is let through here; HTTP/1.1 refuses it elsewhere.
        """
        if host is not None and not self._is_ours(host):
            return (
                "The Host of this request is not a name of this gateway. "
                "Add it to server.allowed_hosts, or configure [[keys]]."
            )
        if origin is not None and not self.allows_origin(origin) and not _same_origin(host, origin):
            return (
                "Requests from the Origin of this page are not allowed. "
                "Add it to server.allowed_origins, or configure [[keys]]."
            )
        return None

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of this origin may call, and read what they are answered."""
        if self._any_origin:
            return True
        if self._origins:
            return origin.lower() in self._origins
        return _is_local_origin(origin)

    def allows_page(self, host: str | None, origin: str) -> bool:
        """Whether pages of this origin may open what CORS does not guard: those that may call, and our own."""
        return self.allows_origin(origin) or _same_origin(host, origin)

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host)
        if name is None:
            return False
        if is_loopback(name) or name in self._names or name.endswith(self._suffixes):
            return True
        return self._addresses and _address(name) is not None


# Names, addresses and origins

_PORT = r"(?::\d{1,5})?"
_AUTHORITY = re.compile(rf"(?P<name>\[[0-9a-f:.]{{2,45}}\]|[a-z0-9_.-]{{1,255}}){_PORT}", re.ASCII)
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]{0,31})://(?P<authority>[^\s/?#@,]{0,262})", re.ASCII)
_HOST_NAME = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_])?", re.ASCII)

_APP_SCHEMES = frozenset(
    {"app", "tauri", "vscode-webview", "vscode-file", "file"}
    | {"chrome-extension", "moz-extension", "safari-web-extension"}
)
"""What programs and extensions that the user has installed call themselves; no page on the web can."""


def _is_local_origin(origin: str) -> bool:
    """Origins allowed where none are configured: pages served by this machine, and installed programs."""
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None:  # "null" too: any page can make itself that, by a sandboxed frame
        return False
    if match["scheme"] in _APP_SCHEMES:
        return True
    name = _without_port(match["authority"])
    return match["scheme"] in ("http", "https") and name is not None and is_loopback(name)


def _same_origin(host: str | None, origin: str) -> bool:
    """Whether a page is our own, by the name (already judged) under which its request came.

    The scheme is left out, since a proxy in front may have taken TLS off.
    """
    scheme, separator, authority = origin.lower().partition("://")
    return host is not None and scheme in ("http", "https") and bool(separator) and authority == host.lower()


def _without_port(authority: str) -> str | None:
    """The host in lower case, without port, brackets and final dot; None if it is none."""
    match = _AUTHORITY.fullmatch(authority.strip().lower())
    return match["name"].strip("[]").removesuffix(".") if match else None


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None


@functools.lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a name or address can only mean this machine."""
    name = host.strip("[]").lower()
    # RFC 6761, 6.3: "Users may assume that IPv4 and IPv6 address queries for localhost names will always
    # resolve to the respective IP loopback address"; browsers do not ask DNS about them.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address is not None and address.is_loopback


def is_host_name(name: str) -> bool:
    """Whether it may stand in server.allowed_hosts: a name, `*.` and a name, or an address."""
    return _HOST_NAME.fullmatch(name.lower()) is not None or _address(name.strip("[]")) is not None


def is_origin(origin: str) -> bool:
    """Whether it looks like what a browser sends as Origin (`null` does not)."""
    match = _ORIGIN.fullmatch(origin.lower())
    return match is not None and bool(match["authority"])


def refusal_to_start(config: Config, *, keys: bool = False) -> str | None:
    """Why this configuration must not be served, as one plain sentence; None if it may be. `keys`: whether some are
    demanded that the configuration does not know.

    Whoever can reach an address that is not loopback could spend the user's money.
    """
    server = config.server
    if config.keys or keys or server.open_without_keys or is_loopback(server.host):
        return None
    return (
        f"Refusing to listen on {server.host}, which other machines can reach, without API keys: "
        "make one with `penstock keys create NAME`, or add a [[keys]] table to the configuration, or go without keys "
        "by server.open_without_keys = true (--open-without-keys)."
    )
