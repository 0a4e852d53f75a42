"""One configured upstream: who it is, how long it may take, and what is sent to it.

A `Provider` joins a preset (data about a kind of server) with what the user said about this one, and makes
requests out of both. It does no I/O of its own: the transport is handed in, and whoever serves a request
drives it. Only the list of models is fetched here, since nothing else needs it.

What goes out is what the client wrote. To a server that speaks the client's dialect the JSON body passes
byte for byte, but for the members that have to differ, which are spliced (protocol.members): `model`,
`stream_options`, and an empty `tools`. Towards another dialect the request is read and written anew.

A client's own credentials never travel: no header of a client's goes upstream unless it is on a short list.
The provider's key is in one header of one request, and in no `repr`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii
from urllib.parse import urlsplit

import trio
from msgspec import UNSET

from .. import __version__
from ..protocol.dialects import DIALECTS, translate_request
from ..protocol.members import Members
from .deadline import Deadline
from .models import MAX_LIST_BYTES, ListUnavailable, ModelInfo, ModelList, parse
from .presets import OPENAI_PATHS, PRESETS, Preset
from .settings import DEFAULT_TIMEOUTS, ProviderSettings, TimeoutSettings
from .transport import Origin, Transport, UpstreamError, UpstreamRequest

__all__ = ["FORWARDED", "LIST_TIMEOUT", "MakeTransport", "Provider", "Slots"]

FORWARDED = frozenset({"traceparent", "tracestate"})
"""The headers of a client's request that go upstream: they tie traces together, and are no secrets."""

_ANTHROPICS = frozenset({"anthropic-version", "anthropic-beta"})
"""Those that go to an upstream of Anthropic's dialect besides: they say how the body is to be read."""

LIST_TIMEOUT = 5.0
"""Seconds for one list of models: Open WebUI gives up on all of them together after ten."""

_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "expect", "host", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "x-request-id"}
)
"""Headers that settings cannot set: how a message is framed is not the user's to say."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110, 5.6.2, in lower case

_EMPTY_LIST = re.compile(rb"\[[ \t\r\n]*\]")
_UNSAID = TimeoutSettings()

MakeTransport = Callable[[str, ProviderSettings], Transport]
"""Makes the transport to an origin (`http://127.0.0.1:9000`), as the provider's settings want it."""


class Slots:
    """How many requests may be with an upstream at once; 0 means any number. Never waits."""

    __slots__ = ("_limit", "in_use")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_use = 0

    def try_acquire(self) -> bool:
        """Take a slot if one is free. Whoever gets True calls `release` once, on every path."""
        if self._limit and self.in_use >= self._limit:
            return False
        self.in_use += 1
        return True

    def release(self) -> None:
        """Give a slot back."""
        if not self.in_use:
            raise RuntimeError("a slot was given back that nobody had taken")
        self.in_use -= 1


class Provider:
    """An upstream by the name that the user gave it.

    `key` is the API key in plain text, already fetched from where the settings say, or "". `timeouts` are
    those that the user set for all; what was said about this provider beats them, and both beat the preset.
    Raises ValueError, in one plain sentence without secrets, for settings that cannot be used.
    """

    def __init__(
        self,
        name: str,
        settings: ProviderSettings,
        *,
        make_transport: MakeTransport,
        key: str = "",
        timeouts: TimeoutSettings = _UNSAID,
    ) -> None:
        preset = PRESETS[settings.preset]
        self.name = name
        self.preset = preset
        self.dialect = preset.dialect
        self.timeouts = DEFAULT_TIMEOUTS.with_changes(preset.timeouts, timeouts, settings.timeouts)
        self.on_client_gone = settings.on_client_gone
        self.slots = Slots(settings.parallel)
        base_url = preset.base_url if settings.base_url is UNSET else settings.base_url
        self.origin, self._prefix, self._query = _split_url(name, base_url, preset.drop_suffixes)
        own = preset.own_operations if settings.base_url is UNSET else ()
        said = (*preset.operations, *own) if settings.speaks is UNSET else settings.speaks
        self.operations = {operation: preset.paths.get(operation) or OPENAI_PATHS[operation] for operation in said}
        self._headers = _fixed_headers(name, preset, settings.headers, key)
        self.transport = make_transport(self.origin, settings)
        models = preset.models if settings.models is UNSET else settings.models
        ask = None if models or settings.models is not UNSET else self._fetch_models
        self.model_list = ModelList(ask, [ModelInfo(id) for id in models])

    def __repr__(self) -> str:
        return f"<Provider {self.name!r} ({self.preset.name} at {self.origin})>"

    # Requests

    def chat_request(
        self,
        members: Members,
        model: str,
        *,
        stream: bool,
        sink: str = "openai",
        request_id: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> UpstreamRequest:
        """A chat request for `model`, from the client's body (in the dialect `sink`) and its headers.

        `stream` is what the client asked for. Raises RemoteProtocolError for a request that cannot be said in
        this provider's dialect.
        """
        source = self.source(sink)
        if source == sink:
            body = members.replace(self._changes(members, model, stream, sink))
        else:
            wanted = DIALECTS[sink].decode_request(members.body)
            usage = stream and self.preset.ask_usage
            wanted = wanted._replace(model=model, stream=stream, include_usage=usage)
            body = translate_request(wanted, sink, source)
        return self.json_request(source, body, request_id=request_id, headers=headers)

    def source(self, sink: str) -> str:
        """The dialect in which a client of the dialect `sink` is served: its own, if the upstream speaks it."""
        return sink if sink in self.operations else self.dialect

    def json_request(
        self, operation: str, body: bytes, *, request_id: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> UpstreamRequest:
        """A request with a body of JSON to where this upstream has the operation."""
        given = {key: value for key, value in headers if key in FORWARDED and _can_be_carried(value)}
        if operation == "anthropic":
            given |= {key: value for key, value in headers if key in _ANTHROPICS and _can_be_carried(value)}
        sent = [(key, value) for key, value in self._headers if key not in given]
        sent += [("content-type", "application/json"), *given.items()]
        if request_id:
            sent.append(("x-request-id", request_id))
        path = self.operations.get(operation) or self.preset.paths[operation]  # type: ignore[index, call-overload]
        return UpstreamRequest("POST", self._target(path), sent, body)

    def models_request(self) -> UpstreamRequest:
        """The request for the upstream's list of models."""
        return UpstreamRequest("GET", self._target(self.preset.models_path), list(self._headers), b"")

    def _changes(self, members: Members, model: str, stream: bool, dialect: str) -> dict[str, bytes | None]:
        """What must differ from the client's body: members to replace or add, and (None) to leave out."""
        changes: dict[str, bytes | None] = {"model": _quote(model)}
        if dialect not in ("openai", "completions"):
            return changes
        # OpenAI refuses an empty list of tools, and ollama's SDK sends one.
        if members.looks("tools", _EMPTY_LIST):
            changes["tools"] = None
        options = members.value("stream_options")
        if not stream or not self.preset.ask_usage:
            # "Only set this when you set stream: true": elsewhere it is refused.
            if "stream_options" in members:
                changes["stream_options"] = None
        elif options is None or (isinstance(options, dict) and options.get("include_usage") is None):
            # Asked for accounting; the relay keeps the answer from clients that did not ask. What a client
            # says itself, be it false, stands; what is no object is the upstream's to refuse.
            changes["stream_options"] = json.dumps({**(options or {}), "include_usage": True}).encode()
        return changes

    def _target(self, path: str) -> str:
        return self._prefix + path + self._query

    # Models

    @property
    def models_known(self) -> dict[str, ModelInfo]:
        """The last known list, by id; nobody is asked."""
        return self.model_list.known

    async def models(self, max_age: float = 60.0) -> list[ModelInfo]:
        """The upstream's models, asked for if the known list is older than `max_age` seconds.

        Takes at most about LIST_TIMEOUT and never raises for the upstream's faults: if it is down, this is
        the last known list.
        """
        return list((await self.model_list.get(max_age)).values())

    async def _fetch_models(self) -> list[ModelInfo]:
        deadline = Deadline(self.timeouts, until=trio.current_time() + LIST_TIMEOUT)
        with deadline.scope:
            try:
                return parse(await self._read_list(deadline))
            except UpstreamError as exc:
                raise ListUnavailable(f"the upstream cannot be reached ({exc.kind})") from exc
        raise ListUnavailable(f"the upstream gave no list within {LIST_TIMEOUT:g} s")

    async def _read_list(self, deadline: Deadline) -> bytes:
        response = await self.transport.send(self.models_request(), deadline)
        try:
            if response.status != 200:
                raise ListUnavailable(f"the upstream answered with status {response.status}")
            body = bytearray()
            while piece := await response.receive():
                body += piece
                if len(body) > MAX_LIST_BYTES:
                    raise ListUnavailable(f"the list is longer than {MAX_LIST_BYTES} bytes")
            response.finish()
            return bytes(body)
        finally:
            response.close()


def _quote(text: str) -> bytes:
    return encode_basestring_ascii(text).encode("ascii")


def _split_url(name: str, base_url: str, drop_suffixes: tuple[str, ...]) -> tuple[str, str, str]:
    """Origin, path without a slash at its end, and query with its question mark, of a base URL."""
    try:
        origin = Origin.parse(base_url)
        usable = base_url.isascii() and base_url.isprintable() and " " not in base_url
    except ValueError:
        usable = False
    # It is not quoted in a message, since it may have a password in it.
    if not usable:
        raise ValueError(f"base_url of provider '{name}' must be an address like http://127.0.0.1:9000/v1")
    parts = urlsplit(base_url)
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"base_url of provider '{name}' must be without user, password and fragment; use api_key")
    path = parts.path.rstrip("/")
    for suffix in drop_suffixes:
        path = path.removesuffix(suffix).rstrip("/")
    return f"{origin.scheme}://{origin.authority}", path, f"?{parts.query}" if parts.query else ""


def _fixed_headers(name: str, preset: Preset, wanted: dict[str, str], key: str) -> list[tuple[str, str]]:
    """The headers of every request to a provider: ours, the preset's, the user's, each beating the former."""
    headers = {"user-agent": f"penstock/{__version__}", **dict(preset.headers)}
    if key and preset.auth != "none":
        if not _can_be_carried(key):
            raise ValueError(f"the API key of provider '{name}' has characters that no header can carry")
        headers |= {"authorization": f"Bearer {key}"} if preset.auth == "bearer" else {preset.auth: key}
    headers |= {header.lower(): value for header, value in wanted.items()}
    for header, value in headers.items():
        if not header or not _TOKEN.issuperset(header) or header in _OURS:
            raise ValueError(f"headers of provider '{name}': {header!r} cannot be set")
        if not _can_be_carried(value):
            raise ValueError(f"headers of provider '{name}': no header can carry the value of {header!r}")
    return list(headers.items())


def _can_be_carried(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()
