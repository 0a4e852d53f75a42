"""Which of the two transports serves an upstream.

`direct` is the fast one. `httpx` goes where `direct` does not: through proxies, and to HTTP/2. By default
the environment decides: httpx where it names a proxy for that host, direct everywhere else.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from msgspec import UNSET

from .direct import DirectTransport
from .httpx_transport import HttpxTransport
from .proxies import proxy_for
from .settings import ProviderSettings
from .tls import client_context
from .transport import Origin, Transport

__all__ = ["choose_transport"]


def choose_transport(origin: str, settings: ProviderSettings, environ: Mapping[str, str]) -> Transport:
    """The transport to `origin` (`https://host:port`) as `settings.transport` and the environment want it.

    Raises ValueError, in one plain sentence, for a `ca_file` that cannot be used.
    """
    ca_file = None if settings.ca_file is UNSET else settings.ca_file
    tls = None if ca_file is None else _trusting(ca_file)
    proxy = proxy_for(Origin.parse(origin), environ)
    if settings.transport == "direct" or (settings.transport == "auto" and proxy is None):
        return DirectTransport(origin, tls=tls)
    return HttpxTransport(origin, proxy=proxy, ca_file=ca_file)


def _trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return client_context(ca_file)
    except OSError as exc:
        reason = "it holds no certificate" if isinstance(exc, ssl.SSLError) else exc.strerror
        raise ValueError(f"ca_file '{ca_file}' cannot be used: {reason}") from exc
