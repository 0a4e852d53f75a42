"""One upstream: how long it may take, what is sent to it, and how its list of models is fetched."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

import penstock
from penstock.protocol import members
from penstock.providers.direct import DirectTransport
from penstock.providers.echo import Echo
from penstock.providers.models import MAX_LIST_BYTES
from penstock.providers.provider import LIST_TIMEOUT, Provider, Slots
from penstock.providers.settings import ProviderSettings, TimeoutSettings
from penstock.providers.transport import Transport, UpstreamRequest
from shelf import Shelf

KEY = "sk-very-secret"
CHAT = b'{"model": "fast", "messages": [{"role": "user", "content": "hi"}]}'


def no_transport(origin: str, settings: ProviderSettings) -> Transport:
    """A transport that no test here sends anything by."""
    return DirectTransport(origin)


def make(name: str = "local", *, key: str = KEY, timeouts: TimeoutSettings | None = None, **said: Any) -> Provider:
    settings = ProviderSettings(**said)
    given = {} if timeouts is None else {"timeouts": timeouts}
    return Provider(name, settings, make_transport=no_transport, key=key, **given)


def chat(provider: Provider, body: bytes = CHAT, *, stream: bool = False, **more: Any) -> UpstreamRequest:
    return provider.chat_request(members.split(body), "org/tiny:free", stream=stream, **more)


# -- who it is ----------------------------------------------------------------------------------------------


def test_a_users_timeouts_beat_the_presets_and_the_providers_beat_all() -> None:
    plain = make(preset="ollama")
    assert (plain.timeouts.connect, plain.timeouts.idle, plain.timeouts.first_event) == (15, 120, 120)
    for_all = TimeoutSettings(idle=7, connect=8)
    assert make(preset="ollama", timeouts=for_all).timeouts.idle == 7
    settings = ProviderSettings(preset="ollama", timeouts=TimeoutSettings(idle=0))
    one = Provider("x", settings, make_transport=no_transport, timeouts=for_all)
    assert (one.timeouts.idle, one.timeouts.connect) == (0, 8)


@pytest.mark.parametrize(
    ("preset", "base_url", "target"),
    [
        ("openai", "http://127.0.0.1:9000/v1", "/v1/chat/completions"),
        ("openai", "http://127.0.0.1:9000/v1/", "/v1/chat/completions"),
        ("openai", "http://127.0.0.1:9000", "/chat/completions"),
        ("openai", "https://host/openai/v1?api-version=1", "/openai/v1/chat/completions?api-version=1"),
        ("deepseek", "https://api.deepseek.com/v1", "/v1/chat/completions"),
        ("ollama", "http://box:11434", "/api/chat"),
        ("ollama", "http://box:11434/v1/", "/api/chat"),
        ("ollama", "http://box/ollama/api", "/ollama/api/chat"),
    ],
)
def test_paths_are_appended_to_the_base_url(preset: str, base_url: str, target: str) -> None:
    assert chat(make(preset=preset, base_url=base_url)).target == target


def test_the_transport_is_made_for_the_origin() -> None:
    origins = []

    def make_transport(origin: str, settings: ProviderSettings) -> Transport:
        origins.append((origin, settings.parallel))
        return DirectTransport(origin)

    settings = ProviderSettings(base_url="https://[::1]:8443/v1?k=v", parallel=3)
    Provider("x", settings, make_transport=make_transport)
    assert origins == [("https://[::1]:8443", 3)]


@pytest.mark.parametrize(
    "base_url",
    [
        *("", "localhost:9000", "ftp://host", "http://", "http://host:99999999", "http://host:0x/"),
        *("http://ho st/", "http://hóst/", "http://host/a\r\nb: c"),
        *("http://user:hunter2@host/v1", "http://host/v1#hunter2"),
    ],
)
def test_c32_a_base_url_that_cannot_be_is_refused_without_quoting_it(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url of provider 'local'") as caught:
        make(base_url=base_url)
    assert "hunter2" not in str(caught.value)


def test_c32_secrets_are_not_in_the_repr() -> None:
    provider = make(base_url="http://host/v1?key=hunter2", headers={"api-key": "hunter3"})
    assert repr(provider) == "<Provider 'local' (openai at http://host)>"


# -- what is sent -------------------------------------------------------------------------------------------


def test_the_headers_are_ours_the_presets_and_the_users() -> None:
    request = chat(make(preset="openrouter", headers={"X-Title": "mine", "x-extra": "1"}), request_id="req_1")
    assert dict(request.headers) == {
        "user-agent": f"penstock/{penstock.__version__}",
        "http-referer": "http://localhost",
        "x-title": "mine",
        "authorization": f"Bearer {KEY}",
        "x-extra": "1",
        "content-type": "application/json",
        "x-request-id": "req_1",
    }
    assert len(request.headers) == 7


def test_of_a_clients_headers_only_harmless_ones_go_upstream() -> None:
    client = [("authorization", "Bearer client"), ("cookie", "c"), ("x-api-key", "k"), ("proxy-authorization", "p")]
    request = chat(make(key=""), headers=[*client, ("host", "h"), ("traceparent", "00-1"), ("tracestate", "a=b")])
    assert [header for header in request.headers if header[0] not in ("user-agent", "content-type")] == [
        ("traceparent", "00-1"),
        ("tracestate", "a=b"),
    ]


def test_no_key_is_shown_where_the_preset_has_none() -> None:
    assert "authorization" not in dict(chat(make(preset="echo")).headers)


@pytest.mark.parametrize("header", ["host", "Content-Length", "transfer-encoding", "a b", "a:b", "", "x\r\ny", "é"])
def test_headers_that_would_break_a_message_cannot_be_set(header: str) -> None:
    with pytest.raises(ValueError, match="headers of provider 'local'"):
        make(headers={header: "1"})


@pytest.mark.parametrize("secret", ["sk-1\r\nx: y", "sk-\x00", "ключ", " sk-1"])
def test_c32_a_key_that_no_header_can_carry_is_refused_without_quoting_it(secret: str) -> None:
    with pytest.raises(ValueError, match="the API key of provider 'local' has") as caught:
        make(key=secret)
    assert secret not in str(caught.value)
    with pytest.raises(ValueError, match="the value of 'x-secret'") as caught:
        make(headers={"x-secret": secret})
    assert secret not in str(caught.value)


def test_c61_the_body_passes_byte_for_byte_but_for_the_model() -> None:
    body = b'{ "seed":12345678901234567890123,"model" : "fast","x":1.10,\t"messages":[{"content":"\\u00e9\xc3\xa9"}] }'
    assert chat(make(), body).body == body.replace(b'"fast"', b'"org/tiny:free"')


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", {"include_usage": True}),
        (b',"stream_options":null', {"include_usage": True}),
        (b',"stream_options":{}', {"include_usage": True}),
        (b',"stream_options":{"include_usage":null,"x":1}', {"include_usage": True, "x": 1}),
        (b',"stream_options":{"include_obfuscation":false}', {"include_obfuscation": False, "include_usage": True}),
        (b',"stream_options":{"include_usage":false}', {"include_usage": False}),
        (b',"stream_options":{"include_usage":true}', {"include_usage": True}),
        (b',"stream_options":7', 7),
    ],
)
def test_c53_usage_is_asked_for_and_what_a_client_says_stands(sent: bytes, expected: object) -> None:
    body = b'{"model":"fast","stream":true%s}' % sent
    assert json.loads(chat(make(), body, stream=True).body)["stream_options"] == expected


@pytest.mark.parametrize("sent", [b"", b',"stream_options":{"include_usage":true}', b',"stream_options":null'])
def test_stream_options_are_left_out_where_nothing_streams(sent: bytes) -> None:
    body = b'{"model":"fast","n":1%s}' % sent
    assert json.loads(chat(make(), body).body) == {"model": "org/tiny:free", "n": 1}


@pytest.mark.parametrize(("sent", "kept"), [(b"[]", False), (b"[ \n ]", False), (b'[{"a":[]}]', True), (b"null", True)])
def test_an_empty_list_of_tools_is_left_out(sent: bytes, kept: bool) -> None:
    body = b'{"model":"fast","tools":%s}' % sent
    assert ("tools" in json.loads(chat(make(), body).body)) is kept


def test_for_ollama_the_request_is_written_in_its_dialect() -> None:
    body = b'{"model":"fast","stream":true,"max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
    request = chat(make(preset="ollama"), body, stream=True)
    sent = json.loads(request.body)
    assert (sent["model"], sent["stream"]) == ("org/tiny:free", True)
    assert sent["options"] == {"num_predict": 5}
    assert sent["messages"] == [{"role": "user", "content": "hi"}]
    assert (request.method, request.target) == ("POST", "/api/chat")


def test_the_request_for_the_list_of_models() -> None:
    request = make(preset="ollama").models_request()
    assert (request.method, request.target, request.body) == ("GET", "/api/tags", b"")
    assert ("authorization", f"Bearer {KEY}") in request.headers


# -- its list of models -------------------------------------------------------------------------------------


async def test_the_list_is_fetched_and_kept(nursery: trio.Nursery, autojump_clock: object) -> None:
    shelf = Shelf(nursery, "a", "org/b:free")
    provider = shelf.provider("local", key=KEY)
    assert not provider.models_known
    assert [info.id for info in await provider.models()] == ["a", "org/b:free"]
    await provider.models()
    assert len(shelf.requests) == 1
    assert shelf.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert f": Bearer {KEY}\r\n".encode() in shelf.requests[0]
    await trio.sleep(61)
    shelf.models = ["c"]
    assert [info.id for info in await provider.models()] == ["c"]


@pytest.mark.parametrize(
    ("broken", "trouble"),
    [
        ({"refuses": True}, "the upstream cannot be reached (refused)"),
        ({"status": 401}, "the upstream answered with status 401"),
        ({"body": b"<html>"}, "the list of models cannot be read"),
        ({"delay": 3600.0}, f"the upstream gave no list within {LIST_TIMEOUT:g} s"),
        ({"body": b" " * (MAX_LIST_BYTES + 1)}, f"the list is longer than {MAX_LIST_BYTES} bytes"),
    ],
)
async def test_an_upstream_that_is_down_keeps_its_last_list(
    nursery: trio.Nursery, autojump_clock: object, broken: dict[str, Any], trouble: str
) -> None:
    shelf = Shelf(nursery, "a")
    provider = shelf.provider("local")
    await provider.models()
    for name, value in broken.items():
        setattr(shelf, name, value)
    await trio.sleep(61)
    began = trio.current_time()
    assert [info.id for info in await provider.models()] == ["a"]
    assert trio.current_time() - began <= LIST_TIMEOUT
    assert provider.model_list.trouble == trouble
    await trio.testing.wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()


async def test_c01_a_list_that_nobody_waits_for_is_not_read_on(nursery: trio.Nursery, autojump_clock: object) -> None:
    shelf = Shelf(nursery, "a")
    shelf.delay = 3600
    provider = shelf.provider("local")
    with trio.move_on_after(1):
        await provider.models()
    assert await shelf.streams[0].receive() == b""
    nursery.cancel_scope.cancel()


async def test_models_that_were_written_down_are_not_asked_for() -> None:
    assert [info.id for info in await make(models=["a", "b"]).models()] == ["a", "b"]
    assert await make(models=[]).models() == []


async def test_the_echo_is_an_upstream_like_any_other(nursery: trio.Nursery) -> None:
    connect = Echo(nursery).connect
    provider = Provider(
        "echo",
        ProviderSettings(preset="openai", base_url="http://echo/v1"),
        make_transport=lambda origin, _: DirectTransport(origin, connect=connect),
    )
    assert [info.id for info in await provider.models()] == ["echo"]
    provider.transport.close()


# -- how many at once ---------------------------------------------------------------------------------------


def test_c08_slots_are_taken_and_given_back() -> None:
    slots = Slots(2)
    assert [slots.try_acquire() for _ in range(3)] == [True, True, False]
    slots.release()
    assert slots.in_use == 1
    assert slots.try_acquire()
    slots.release()
    slots.release()
    with pytest.raises(RuntimeError):
        slots.release()


def test_no_limit_is_no_limit() -> None:
    slots = make(parallel=0).slots
    assert all(slots.try_acquire() for _ in range(1000))
    assert slots.in_use == 1000


# -- Anthropic's version ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "headers", "version", "sampled"),
    [
        ({}, [], "2023-06-01", True),
        ({}, [("anthropic-version", "2026-10-21")], "2026-10-21", False),
        ({"headers": {"anthropic-version": "2026-10-21"}}, [], "2026-10-21", False),
    ],
)
def test_a_body_is_written_by_the_version_that_is_sent_with_it(settings, headers, version, sampled) -> None:
    body = b'{"model": "fast", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}'
    sent = chat(make(preset="anthropic", **settings), body, headers=headers)
    assert dict(sent.headers)["anthropic-version"] == version
    assert ("temperature" in json.loads(sent.body)) is sampled
