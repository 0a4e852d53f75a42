"""The opening handshake: who comes in, what is agreed on, and what whoever stays outside is told over HTTP."""

import base64

import pytest
import trio

from answers import completion, reply
from penstock.server.socket import deflate
from rig import Rig, settled
from scripted import Upstream
from sockets import HANDSHAKE, head_of, opened, upgrade

KEYS = '[[keys]]\nname = "one"\nkey = { env = "ONE" }\n'
ENVIRON = {"ONE": "sk-one"}
BEARER = "bearer." + base64.urlsafe_b64encode(b"sk-one").decode().rstrip("=")


def keyed(nursery, toml=""):
    return Rig(nursery, toml=KEYS + toml, environ=ENVIRON)


async def answered(rig, path="/ws", **headers):
    client = await upgrade(rig, path, **headers)
    found = await head_of(client)
    client.leave()
    return found


async def refused(rig, status, code, **headers):
    client = await upgrade(rig, **headers)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (status, code)
    client.leave()
    return answer


@pytest.mark.parametrize("path", ["/v1/chat/ws", "/api/v1/chat/ws", "/ws", "/chat/ws/", "/v1//chat/ws?a=b"])
async def test_it_opens_at_each_of_its_paths(nursery, path):
    async with opened(Rig(nursery), path) as ws:
        await ws.call(1, "ping")
        assert await ws.get() == {"jsonrpc": "2.0", "result": {}, "id": 1}


async def test_the_answer_is_that_of_the_rfc(nursery):
    status, headers = await answered(Rig(nursery))
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
    assert (headers["upgrade"], headers["connection"]) == ("websocket", "Upgrade")
    assert headers["x-request-id"].startswith("req_")
    assert not {"sec-websocket-protocol", "sec-websocket-extensions", "content-length"} & headers.keys()


@pytest.mark.parametrize(
    "headers",
    [
        {"connection": "keep-alive, Upgrade"},  # as Firefox has it
        {"upgrade": "WebSocket"},
        {"sec_websocket_version": " 13 "},
    ],
)
async def test_spellings_of_the_handshake(nursery, headers):
    assert (await answered(Rig(nursery), **headers))[0] == 101


@pytest.mark.parametrize(
    "headers",
    [
        dict.fromkeys(("upgrade", "connection", "sec_websocket_version", "sec_websocket_key"), ""),
        {"upgrade": ""},
        {"upgrade": "h2c"},
        {"connection": "keep-alive"},
        {"sec_websocket_version": "8"},
        {"sec_websocket_version": ""},
    ],
)
async def test_who_does_not_ask_for_this_protocol_is_told_426(nursery, headers):
    answer = await refused(Rig(nursery), 426, "upgrade_required", **headers)
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("key", ["", "short", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25jZQ== x"])
async def test_a_key_that_is_none(nursery, key):
    await refused(Rig(nursery), 400, "bad_handshake", sec_websocket_key=key)


async def test_a_body_does_not_belong_there(nursery):
    await refused(Rig(nursery), 400, "bad_handshake", content_length="5")


async def test_the_connection_goes_on_after_a_refusal(nursery):
    client = await upgrade(Rig(nursery), sec_websocket_version="8")
    assert (await client.answer()).status == 426
    await client.request("GET", "/health")
    assert (await client.answer()).status == 200


async def test_other_methods(nursery):
    client = Rig(nursery).connect()
    await client.request("POST", "/ws", body=b"{}")
    assert (await client.answer()).status == 405
    await client.request("HEAD", "/ws", HANDSHAKE)
    assert (await client.head()).status_code == 426


async def test_http_1_0_cannot(nursery):
    client = Rig(nursery).connect()
    await client.request("GET", "/ws", HANDSHAKE, version="1.0")
    assert (await client.answer()).status == 426


async def test_a_gateway_that_goes_down_opens_none(nursery):
    rig = Rig(nursery)
    client = rig.connect()
    await settled()
    rig.gateway.draining = True
    await client.request("GET", "/ws", HANDSHAKE)
    assert (await client.answer()).status == 503


# -- pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [True, False])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 101),
        ("vscode-webview://abc", 101),
        ("http://127.0.0.1:8777", 101),  # a page of our own
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
async def test_pages_of_others_stay_outside_with_keys_too(nursery, origin, status, keys):
    rig = keyed(nursery) if keys else Rig(nursery)
    headers = {"authorization": "Bearer sk-one"} if keys else {}
    assert (await answered(rig, origin=origin, **headers))[0] == status


async def test_origins_that_are_configured(nursery):
    rig = Rig(nursery, toml='[server]\nallowed_origins = ["https://chat.example.com"]\n')
    assert (await answered(rig, origin="https://chat.example.com"))[0] == 101
    assert (await answered(rig, origin="http://localhost:3000"))[0] == 403


async def test_a_foreign_host_stays_outside(nursery):
    assert (await answered(Rig(nursery), host="evil.example"))[0] == 403


# -- sub-protocols and keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["llm.rpc.v1"], "llm.rpc.v1"),
        (["graphql-ws", "llm.rpc.v1"], "llm.rpc.v1"),
        (["graphql-ws"], None),
        (["llm.rpc.v1", BEARER], "llm.rpc.v1"),
        ([BEARER], None),
    ],
)
async def test_one_sub_protocol_is_known_and_a_key_is_not_repeated(nursery, offered, chosen):
    status, headers = await answered(keyed(nursery), sec_websocket_protocol=", ".join(offered))
    assert (status, headers.get("sec-websocket-protocol")) == (101, chosen)


@pytest.mark.parametrize(
    "shown",
    [
        {"headers": {"authorization": "Bearer sk-one"}},
        {"headers": {"x-api-key": "sk-one"}},
        {"headers": {"api-key": "sk-one"}},
        {"protocols": ["llm.rpc.v1", BEARER]},
        {"protocols": ["llm.rpc.v1", BEARER + "="]},  # padded
    ],
)
async def test_a_key_at_the_upgrade_needs_no_initialize(nursery, shown):
    async with opened(keyed(nursery), **shown) as ws:
        await ws.call(1, "models.list")
        assert (await ws.get())["result"]["object"] == "list"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sk-two"},
        {"sec_websocket_protocol": "bearer.c2stdHdv"},
        {"sec_websocket_protocol": "bearer.%%%"},
        {"sec_websocket_protocol": "bearer._w"},  # no UTF-8
    ],
)
async def test_a_wrong_key_at_the_upgrade_is_401(nursery, headers):
    answer = await refused(keyed(nursery), 401, "invalid_api_key", **headers)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_header_of_the_upgrade_and_no_key_goes_upstream(nursery):
    upstream = Upstream(nursery, [reply(completion())])
    rig = Rig(nursery, upstream, KEYS, environ=ENVIRON)
    async with opened(rig, headers={"x-api-key": "sk-one"}, protocols=["llm.rpc.v1", BEARER]) as ws:
        await ws.chat(1)
        assert "result" in await ws.get()
    headers = upstream.requests[0].headers
    assert not [name for name in headers if name.startswith("sec-") or name in ("upgrade", "origin", "x-api-key")]
    assert not [value for value in headers.values() if "sk-one" in value or BEARER in value]


async def test_a_key_in_the_url_is_none(nursery):
    async with opened(keyed(nursery), "/ws?api_key=sk-one&token=sk-one") as ws:
        await ws.call(1, "ping")
        assert (await ws.get())["error"]["code"] == -32002


async def test_initialize_with_a_key(nursery):
    async with opened(keyed(nursery)) as ws:
        await ws.call(1, "models.list")
        assert (await ws.get())["error"]["code"] == -32002
        await ws.send({"type": "ping"})
        assert (await ws.get())["error"]["code"] == "invalid_api_key"
        await ws.call(2, "initialize", {"protocolVersion": "1"})
        assert (await ws.get())["error"]["code"] == -32001
        await ws.call(3, "initialize", {"protocolVersion": "1", "auth": {"token": "sk-one"}})
        assert (await ws.get())["result"]["protocolVersion"] == "1"
        await ws.call(4, "models.list")
        assert (await ws.get())["result"]["object"] == "list"


@pytest.mark.parametrize("auth", [1, {}, {"token": 5}, []])
async def test_auth_that_is_malformed(nursery, auth):
    async with opened(keyed(nursery)) as ws:
        await ws.call(1, "initialize", {"auth": auth})
        assert (await ws.get())["error"]["code"] == -32602


async def test_a_wrong_key_in_initialize_ends_the_socket(nursery):
    async with opened(keyed(nursery)) as ws:
        await ws.call(1, "initialize", {"auth": {"token": "sk-two"}})
        answer = await ws.get()
        assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["http_status"]) == (1, -32001, 401)
        assert (await ws.closed())[0] == 1008


@pytest.mark.parametrize(("toml", "seconds"), [("", 10), ("[timeouts]\nwebsocket_initialize = 3\n", 3)])
async def test_who_shows_no_key_in_time_is_closed(nursery, autojump_clock, toml, seconds):
    began = trio.current_time()
    async with opened(keyed(nursery, toml)) as ws:
        await ws.call(1, "ping")
        assert (await ws.closed())[0] == 1008
        assert trio.current_time() - began == seconds


@pytest.mark.parametrize("how", ["shown", "initialized", "not needed", "no limit"])
async def test_who_has_shown_a_key_may_take_their_time(nursery, autojump_clock, how):
    rig = Rig(nursery) if how == "not needed" else keyed(nursery)
    if how == "no limit":
        rig = keyed(nursery, "[timeouts]\nwebsocket_initialize = 0\n")
    async with opened(rig, headers={"x-api-key": "sk-one"} if how == "shown" else {}) as ws:
        if how == "initialized":
            await ws.call(0, "initialize", {"auth": {"token": "sk-one"}})
            await ws.get()
        await trio.sleep(60)
        await ws.call(1, "initialize", {"auth": {"token": "sk-one"}})
        assert (await ws.get())["id"] == 1


async def test_c87_a_key_is_judged_for_each_message(nursery, monkeypatch):
    rig = keyed(nursery)
    async with opened(rig, headers={"x-api-key": "sk-one"}) as ws:
        await ws.call(1, "ping")
        assert "result" in await ws.get()

        async def revoked(headers):
            return None

        monkeypatch.setattr(type(rig.gateway.gate), "identify", lambda self, headers: revoked(headers))
        await ws.call(2, "ping")
        assert (await ws.get())["error"]["code"] == -32001


# -- permessage-deflate --------------------------------------------------------------------------------------

AGREED = "permessage-deflate; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", AGREED),
        ("permessage-deflate; client_max_window_bits", AGREED),  # as browsers have it
        ("permessage-deflate; client_max_window_bits=10", AGREED),
        ("permessage-deflate; client_no_context_takeover", AGREED),
        ("permessage-deflate; server_no_context_takeover", AGREED + "; server_no_context_takeover"),
        ('permessage-deflate; server_max_window_bits="12"', AGREED + "; server_max_window_bits=12"),
        ("x-webkit-deflate-frame, permessage-deflate", AGREED),
        ("permessage-deflate; unknown, permessage-deflate", AGREED),
        ("permessage-deflate; server_max_window_bits", None),
        ("permessage-deflate; server_max_window_bits=16", None),
        ("permessage-deflate; client_max_window_bits=", None),
        ("permessage-deflate; client_no_context_takeover=1", None),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", None),
        ("permessage-bzip2", None),
        ("", None),
    ],
)
def test_what_is_agreed_on_for_compression(offer, answer):
    assert deflate.agree(offer) == answer


async def test_compression_is_answered_in_the_head(nursery):
    _, headers = await answered(Rig(nursery), sec_websocket_extensions="permessage-deflate")
    assert headers["sec-websocket-extensions"] == AGREED


async def test_a_key_that_may_not_be_used_from_this_page(nursery, monkeypatch):
    rig = keyed(nursery)
    monkeypatch.setattr(type(rig.gateway.gate), "admits", staticmethod(lambda key, origin: origin is None))
    headers = {"authorization": "Bearer sk-one", "origin": "http://localhost:3000"}
    await refused(rig, 403, "permission_denied", **headers)
    async with opened(rig, headers={"origin": "http://localhost:3000"}) as ws:
        await ws.call(1, "initialize", {"auth": {"token": "sk-one"}})
        assert "result" in await ws.get()
        await ws.call(2, "ping")
        assert (await ws.get())["error"]["code"] == -32003
