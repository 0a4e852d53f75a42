"""Which proxy, if any, the environment names for an upstream: the customs of curl and Go.

`https_proxy`, `http_proxy` and `all_proxy`, in small letters before large ones; `no_proxy` lists what is
reached without: names (and all below them), addresses, networks, each perhaps with a port, or `*`. The
machine itself is never reached through a proxy, as in Go: an Ollama on the loopback is here, not there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from .transport import Origin

__all__ = ["proxy_for"]


def proxy_for(origin: Origin, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL, or None for a direct way. It may hold a password: never show it."""
    proxy = _variable(environ, f"{origin.scheme}_proxy") or _variable(environ, "all_proxy")
    if not proxy or _is_loopback(origin.host):
        return None
    excepted = _variable(environ, "no_proxy").replace(",", " ").lower().split()
    if any(_matches(each, origin) for each in excepted):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    # Under CGI, HTTP_PROXY may come from a client's `Proxy` header (CVE-2016-5385).
    loud = "" if name == "http_proxy" and "REQUEST_METHOD" in environ else environ.get(name.upper(), "")
    return (environ.get(name) or loud).strip()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761 section 6.3


def _matches(excepted: str, origin: Origin) -> bool:
    if excepted == "*":
        return True
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(excepted.strip("[]"), strict=False)
    except ValueError:
        pass  # one of them is a name, or has a port
    name, colon, port = excepted.rpartition(":")
    if colon and port.isdecimal():
        if int(port) != origin.port:
            return False
        excepted = name.strip("[]")
    excepted = excepted.removeprefix("*").removeprefix(".")
    host = origin.host.rstrip(".")
    return bool(excepted) and (host == excepted or host.endswith(f".{excepted}"))
