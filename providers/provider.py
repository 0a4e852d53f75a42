"""One configured upstream: who it is, how long it may take, and what is sent to it.

A `Provider` joins a preset (data about a kind of server) with what the user said about this one, and makes
requests out of both. It does no I/O of its own: the transport is handed in, and whoever serves a request
drives it. Only the list of models is fetched here, since nothing else needs it.

What goes out is what the client wrote. To a server that speaks the client's dialect the JSON body passes
byte for byte, but for the members that have to differ, which are spliced (protocol.members): `model`,
`stream_options`, and an empty `tools`. Towards another dialect the request is read and written anew.

A client's own credentials never travel; which of its other headers do, a policy says (`headers`).
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

from ..protocol.dialects import DIALECTS, translate_request
from ..protocol.dialects.anthropic_request import DEFAULT_VERSION
from ..protocol.members import Members
from .deadline import Deadline
from .headers import ANTHROPICS, REQUEST_RULES, RESPONSE_RULES, HeaderPolicy, fixed_headers, rules
from .models import MAX_LIST_BYTES, ListUnavailable, ModelInfo, ModelList, parse
from .presets import OPENAI_PATHS, PRESETS
from .settings import DEFAULT_TIMEOUTS, HeaderTable, ProviderSettings, TimeoutSettings
from .transport import LongBody, Origin, Transport, UpstreamError, UpstreamRequest

__all__ = ["LIST_TIMEOUT", "MakeTransport", "Provider", "Slots"]

LIST_TIMEOUT = 5.0
"""Seconds for one list of models: Open WebUI gives up on all of them together after ten."""

_EMPTY_LIST = re.compile(rb"\[[ \t\r\n]*\]")
_UNSAID = TimeoutSettings()
_NO_RULES = HeaderTable()

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
    those that the user set for all; what was said about this provider beats them, and both beat the preset. So do
    `rules_of_all`, of which headers travel.
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
        rules_of_all: HeaderTable = _NO_RULES,
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
        self._passes = HeaderPolicy(rules(REQUEST_RULES, rules_of_all.request, settings.request_headers))
        self.answers = HeaderPolicy(rules(RESPONSE_RULES, rules_of_all.response, settings.response_headers))
        """Which headers of its answers go to the client."""
        self._headers = fixed_headers(name, preset, self._passes.added, settings.headers, key)
        self._firm = {name.lower() for name in (*self._passes.added, *settings.headers)}
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
            own = {"version": self._anthropic_version(headers)} if source == "anthropic" else {}
            body = translate_request(wanted, sink, source, **own)
        return self.json_request(source, body, request_id=request_id, headers=headers)

    def source(self, sink: str) -> str:
        """The dialect in which a client of the dialect `sink` is served: its own, if the upstream speaks it."""
        return sink if sink in self.operations else self.dialect

    def json_request(
        self, operation: str, body: bytes, *, request_id: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> UpstreamRequest:
        """A request with a body of JSON to where this upstream has the operation."""
        return self.request(operation, body, "application/json", request_id=request_id, headers=headers)

    def request(
        self,
        operation: str,
        body: bytes | LongBody,
        content_type: str,
        *,
        request_id: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> UpstreamRequest:
        """A request with a body of any type to where this upstream has the operation."""
        given = self._given(operation, headers)
        request_id = given.pop("x-request-id", request_id)
        sent = [(key, value) for key, value in self._headers if key not in given]
        sent += [("content-type", content_type), *given.items()]
        if request_id:
            sent.append(("x-request-id", request_id))
        path = self.operations.get(operation) or self.preset.paths[operation]  # type: ignore[index, call-overload]
        return UpstreamRequest("POST", self._target(path), sent, body)

    def _anthropic_version(self, headers: Iterable[tuple[str, str]]) -> str:
        """The version by which a body is read: the client's, else that of the settings or of the preset."""
        said = {**dict(self._headers), **self._given("anthropic", headers)}
        return said.get("anthropic-version", DEFAULT_VERSION)

    def _given(self, operation: str, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """What the upstream is given of a client's headers. The user's own word for a name stands."""
        given = self._passes.passed(headers)
        if operation in ("anthropic", "count_tokens"):
            given |= self._passes.chosen(headers, ANTHROPICS)
        for name in self._firm & given.keys():
            del given[name]
        return given

    def question(self, path: str, value: object = None) -> UpstreamRequest:
        """A request beside the work, for what an upstream says of itself: a GET, or a POST of this value as JSON."""
        if value is None:
            return UpstreamRequest("GET", self._target(path), list(self._headers), b"")
        headers = [*self._headers, ("content-type", "application/json")]
        return UpstreamRequest("POST", self._target(path), headers, json.dumps(value).encode())

    def models_request(self) -> UpstreamRequest:
        """The request for the upstream's list of models."""
        return self.question(self.preset.models_path)

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
        return parse(await self.ask(self.models_request()))

    async def ask(self, request: UpstreamRequest) -> bytes:
        """The answer to a question, whole. Takes at most about LIST_TIMEOUT; raises ListUnavailable where there is no
        answer with status 200 by then."""
        deadline = Deadline(self.timeouts, until=trio.current_time() + LIST_TIMEOUT)
        with deadline.scope:
            try:
                return await self._read(request, deadline)
            except UpstreamError as exc:
                raise ListUnavailable(f"the upstream cannot be reached ({exc.kind})") from exc
        raise ListUnavailable(f"the upstream gave no list within {LIST_TIMEOUT:g} s")

    async def _read(self, request: UpstreamRequest, deadline: Deadline) -> bytes:
        response = await self.transport.send(request, deadline)
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
