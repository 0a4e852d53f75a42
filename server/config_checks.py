"""What is wrong with a configuration although each of its values is right: names, addresses, files.

Everything that can be known without asking the network is known before the first request. No message repeats
a value that may hold a secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import UNSET

from ..providers.headers import HeaderPolicy
from ..providers.presets import PRESETS
from ..providers.settings import HeaderRules, ProviderSettings
from .access import is_host_name, is_origin
from .config_reader import did_you_mean
from .config_sources import KeyPath, Sources, dotted

if TYPE_CHECKING:
    from .config import Shape

__all__ = ["check"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-goog-api-key"}

Providers = Mapping[str, ProviderSettings]


def check(shape: Shape, providers: Providers, sources: Sources) -> None:
    """Raise ConfigError for the first thing that cannot be. `providers` has those that nobody configured too."""
    _check_names(shape, providers, sources)
    _check_server(shape, sources)
    for direction in ("request", "response"):
        _check_rules(("headers", direction), getattr(shape.headers, direction), sources)
    for name, settings in shape.providers.items():
        _check_provider(("providers", name), settings, sources)
    _check_routes(shape, providers, sources)
    for name in shape.aliases:
        _check_alias(name, shape, providers, sources)


def _check_names(shape: Shape, providers: Providers, sources: Sources) -> None:
    taken: dict[str, str] = {
        name: f"the provider {name!r}, which is always there" for name in providers.keys() - shape.providers
    }
    for table, names in (("providers", shape.providers), ("routes", shape.routes), ("aliases", shape.aliases)):
        for name in names:
            path = (table, name)
            if table == "aliases":
                good = bool(name) and not re.search(r"\s", name)
            else:
                good = _NAME.fullmatch(name) is not None
            if not good:
                rule = "no spaces" if table == "aliases" else "letters, digits, '.', '_' and '-' only"
                raise sources.error(path, f"is no name that can be used: {rule}.")
            if name in taken:
                raise sources.error(
                    path, f"collides with {taken[name]}: providers, routes and aliases share their names."
                )
            taken[name] = dotted(path)


def _check_server(shape: Shape, sources: Sources) -> None:
    server = shape.server
    if not server.host or re.search(r"[\s/]", server.host):
        raise sources.error(
            ("server", "host"), 'must be an address or a name of this machine; "0.0.0.0" is all of them.'
        )
    if bool(server.tls_cert) != bool(server.tls_key):
        given, missing = ("tls_cert", "tls_key") if server.tls_cert else ("tls_key", "tls_cert")
        raise sources.error(("server", given), f"needs server.{missing} beside it.")
    for key in ("tls_cert", "tls_key"):
        _check_readable(("server", key), getattr(server, key), sources)
    for index, name in enumerate(server.trusted_proxies):
        try:
            ipaddress.ip_network(name, strict=False)
        except ValueError as exc:
            where = ("server", "trusted_proxies", index)
            raise sources.error(where, "must be an address or a network, like 10.0.0.1 or 10.0.0.0/8.") from exc
    for index, name in enumerate(server.allowed_hosts):
        if not is_host_name(name):
            where = ("server", "allowed_hosts", index)
            raise sources.error(
                where, "must be a host name or an address without a port; *.example.com is fine, * is not."
            )
    for index, origin in enumerate(server.allowed_origins):
        _check_origin(("server", "allowed_origins", index), origin, shape, sources)


def _check_origin(path: KeyPath, origin: str, shape: Shape, sources: Sources) -> None:
    if origin == "null":
        raise sources.error(path, 'must not be "null": any page on the web can make itself that origin.')
    if origin == "*":
        if not shape.keys:
            problem = 'must not be "*" while there are no keys: every page on the web could spend your money.'
            raise sources.error(path, problem)
    elif not is_origin(origin):
        raise sources.error(path, "must be an origin like https://chat.example.com, without a path.")


def _check_provider(path: KeyPath, settings: ProviderSettings, sources: Sources) -> None:
    if settings.preset not in PRESETS:
        known = did_you_mean(settings.preset, PRESETS)
        raise sources.error((*path, "preset"), f"must be one of {', '.join(PRESETS)}{known}")
    if settings.base_url is not UNSET:
        _check_url((*path, "base_url"), settings.base_url, sources)
    for header in settings.headers:
        if header.lower() in _SECRET_HEADERS:
            problem = (
                "must not be set here, since it carries a secret: use api_key, with { env = ... } or { file = ... }."
            )
            raise sources.error((*path, "headers", header), problem)
    for table in ("request_headers", "response_headers"):
        _check_rules((*path, table), getattr(settings, table), sources)
    if settings.ca_file is not UNSET:
        _check_readable((*path, "ca_file"), settings.ca_file, sources)


def _check_rules(path: KeyPath, said: HeaderRules, sources: Sources) -> None:
    try:
        HeaderPolicy(said)
    except ValueError as exc:
        raise sources.error(path, f"cannot be: {exc}.") from exc


def _check_url(path: KeyPath, url: str, sources: Sources) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or re.search(r"\s", url):
        raise sources.error(path, "must be an address like http://127.0.0.1:9000/v1.")
    if "@" in parts.netloc:
        raise sources.error(
            path, "must not have a user or password in it: keys come from the environment or from files."
        )


def _check_routes(shape: Shape, providers: Providers, sources: Sources) -> None:
    for name, route in shape.routes.items():
        path: KeyPath = ("routes", name, "providers")
        if not route.providers:
            raise sources.error(path, "must name at least one provider.")
        for index, step in enumerate(route.providers):
            provider = step if isinstance(step, str) else step.provider
            if provider not in providers:
                hint = did_you_mean(provider, providers)
                raise sources.error((*path, index), f"names a provider that does not exist, {provider!r}{hint}")


def _check_alias(name: str, shape: Shape, providers: Providers, sources: Sources) -> None:
    """An alias must lead to a provider, a route, or an id that somebody may know."""
    path = ("aliases", name)
    seen = {name}
    target = shape.aliases[name]
    while target in shape.aliases:
        if target in seen:
            raise sources.error(path, "leads in a circle.")
        seen.add(target)
        target = shape.aliases[target]
    first, slash, _ = target.partition("/")
    if first in shape.routes:
        steps = shape.routes[first].providers
        if not slash and any(isinstance(step, str) or step.model is UNSET for step in steps):
            raise sources.error(path, f"leads to a route that needs a model: say {first}/MODEL.")
        return
    if first in providers and slash:
        return
    lists = [settings.models for settings in providers.values() if not PRESETS[settings.preset].embedded]
    may_be_known = any(models is UNSET or target in models for models in lists) or target == "echo"
    if not target or slash or not may_be_known:
        hint = did_you_mean(first, [*providers, *shape.routes, *shape.aliases])
        problem = "leads nowhere: its target must be provider/model, route/model, an alias or the id of a known model"
        raise sources.error(path, problem + hint)


def _check_readable(path: KeyPath, file: str, sources: Sources) -> None:
    if file:
        try:
            with Path(file).open("rb"):
                pass
        except OSError as exc:
            raise sources.error(path, f"names a file that cannot be read, {file}: {exc.strerror}.") from exc
