"""HTTP/1.1 at the door: paths, methods, versions, connections, ids, and errors that clients can read."""

import h11
import pytest
import trio

from answers import DONE, finish, role, stream, text
from door import ANSWER, CHAT, PATH, ended, refused, request
from penstock.protocol.relay import Relay
from penstock.server.http import api_path
from rig import Rig
from scripted import Upstream

STREAM = stream(role(), text("Hello"), finish(), DONE)


@pytest.fixture
def rig(nursery):
    return Rig(nursery, Upstream(nursery, always=ANSWER))


async def ask(rig, *args, **kwargs):
    client = rig.connect()
    await client.request(*args, **kwargs)
    return await client.answer()


# -- paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/v1/models", "/models"),
        ("/models", "/models"),
        ("/v1//models", "/models"),
        ("//v1/models/", "/models"),
        ("///v1///models///", "/models"),
        ("/v1//chat//completions/", "/chat/completions"),
        ("http://gateway.test/v1/models", "/models"),
        ("HTTPS://gateway.test:1//v1//models/", "/models"),
        ("http://gateway.test", "/"),
        ("/v1/models/org%2Fa:free", "/models/org%2Fa:free"),
        ("/v1/models/org/a:free/", "/models/org/a:free"),
        ("/v1/models//data/models/x", "/models//data/models/x"),
        ("/v1", "/"),
        ("/v1/", "/"),
        ("/", "/"),
        ("*", "*"),
        ("gateway.test:443", "gateway.test:443"),
        ("/v1x/models", "/v1x/models"),
        ("/v1/v1/models", "/v1/models"),
    ],
)
def test_the_path_of_an_endpoint(raw, path):
    assert api_path(raw) == path


@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1//chat/completions/",
        "/v1/chat/completions?api-version=2024-10-21&x=%00",
        "http://127.0.0.1:8777/v1/chat/completions",
    ],
)
async def test_one_endpoint_by_many_spellings(rig, autojump_clock, target):
    answer = await ask(rig, "POST", target, body=CHAT)
    assert answer.status == 200
    assert answer.json["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("target", ["/v1/nope", "/v1/chat/completions/x", "/v1/../health", "*", "/healthz"])
async def test_an_unknown_path_is_404(rig, autojump_clock, target):
    error = refused(await ask(rig, "GET", target), 404, "unknown_url")
    assert error["message"].startswith("Unknown request URL: GET ")


async def test_an_error_does_not_repeat_the_query_which_may_hold_a_key(rig, autojump_clock):
    answer = await ask(rig, "GET", "/v1/nothing?key=sk-very-secret")
    assert "very-secret" not in refused(answer, 404, "unknown_url")["message"]


# -- methods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", PATH, "OPTIONS, POST"),
        ("HEAD", PATH, "OPTIONS, POST"),
        ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("BREW", "/v1/models/x", "GET, HEAD, OPTIONS"),
        ("get", "/ready", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_405_and_says_which_are_right(rig, autojump_clock, method, target, allowed):
    answer = await ask(rig, method, target)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        refused(answer, 405, "method_not_allowed")


async def test_connect_makes_no_tunnel(rig, autojump_clock):
    refused(await ask(rig, "TRACE", "/health"), 405, "method_not_allowed")
    client = rig.connect()
    await client.raw(request("CONNECT", "example.com:443"))
    client.expect("GET")  # h11 would take a 200 to CONNECT for a tunnel
    refused(await client.answer(), 404, "unknown_url")


@pytest.mark.parametrize("target", ["/health", "/ready", "/v1/models", "/v1/models/up%2Ftiny", "/v1/models/up/none"])
async def test_head_says_what_get_would_and_sends_no_body(rig, autojump_clock, target):
    client = rig.connect()
    await client.request("GET", target)
    got = await client.answer()
    await client.request("HEAD", target)
    head = await client.answer()  # a body would be taken for the next response, which must be there
    await client.request("GET", "/ready")
    assert (await client.answer()).json == {"status": "ready"}
    assert (head.status, head.body) == (got.status, b"")
    if target != "/health":  # whose uptime changes
        assert head.headers["content-length"] == got.headers["content-length"]


async def test_options_says_what_is_allowed(rig, autojump_clock):
    answer = await ask(rig, "OPTIONS", "/v1/models")
    assert (answer.status, answer.body, answer.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS")
    assert "content-length" not in answer.headers  # RFC 9110, section 8.6: MUST NOT in a 204
    assert (await ask(rig, "OPTIONS", "*")).status == 204


# -- connections ------------------------------------------------------------------------------------------


async def test_one_connection_serves_many_requests_whatever_they_come_to(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, STREAM, always=ANSWER))
    client = rig.connect()
    seen = []
    for method, target, body in [
        ("POST", PATH, CHAT.replace(b"{", b'{"stream":true,', 1)),
        ("GET", "/v1/models", b""),
        ("POST", PATH, b"{"),
        ("GET", "/nothing", b""),
        ("POST", "/health", b"a body that nobody wants"),
        ("OPTIONS", PATH, b""),
        ("POST", PATH, CHAT),
    ]:
        await client.request(method, target, body=body)
        answer = await client.answer()
        assert "connection" not in answer.headers
        seen.append(answer.status)
    assert seen == [200, 200, 400, 404, 405, 204, 200]


@pytest.mark.parametrize(
    "fields", [["Connection: close"], ["Connection: TE, Close"], ["Connection: x", "Connection: close"]]
)
async def test_a_connection_ends_when_the_client_wants_it(rig, autojump_clock, fields):
    client = rig.connect()
    await client.raw(request("GET", "/ready", *fields) + request("GET", "/ready"))
    client.expect("GET")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await ended(client)
    assert trio.current_time() == 0


async def test_http_1_0_ends_the_connection(rig, autojump_clock):
    client = rig.connect()
    await client.raw(b"GET /ready HTTP/1.0\r\n\r\n")  # no Host either
    client.expect("GET")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert answer.json == {"status": "ready"}
    await ended(client)


async def test_http_1_0_stays_if_asked(rig, autojump_clock):
    client = rig.connect()
    for _ in range(2):
        await client.raw(request("POST", PATH, "Connection: Keep-Alive", body=CHAT, version="1.0"))
        client.expect()
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


@pytest.mark.parametrize("fields", [[], ["Connection: keep-alive"]])
async def test_a_stream_to_http_1_0_is_not_chunked_and_ends_with_the_connection(nursery, autojump_clock, fields):
    rig = Rig(nursery, Upstream(nursery, STREAM))
    client = rig.connect()
    body = CHAT.replace(b"{", b'{"stream":true,', 1)
    await client.raw(request("POST", PATH, *fields, body=body, version="1.0"))
    client.expect()
    answer = await client.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert (answer.text, answer.events[-1]) == ("Hello", DONE)
    await ended(client)


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [("2.0", 505, "http_version_not_supported"), ("0.9", 505, "http_version_not_supported")],
)
async def test_other_versions_are_505_and_not_to_be_tried_again(rig, autojump_clock, version, status, code):
    client = rig.connect()
    await client.raw(request("GET", "/ready", version=version))
    client.expect("GET")
    answer = await client.answer()
    refused(answer, status, code, "server_error")
    assert answer.headers["x-should-retry"] == "false"
    await ended(client)


async def test_the_preface_of_http_2_is_505(rig, autojump_clock):
    client = rig.connect()
    await client.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    client.expect("GET")
    refused(await client.answer(), 505, "http_version_not_supported", "server_error")


async def test_another_transfer_coding_is_501_and_not_to_be_tried_again(rig, autojump_clock):
    client = rig.connect()
    await client.raw(request("POST", PATH, "Transfer-Encoding: gzip, chunked"))
    client.expect()
    answer = await client.answer()
    refused(answer, 501, "not_implemented", "server_error")
    assert answer.headers["x-should-retry"] == "false"
    await ended(client)


async def test_an_upgrade_is_not_taken(rig, autojump_clock):
    answer = await ask(rig, "GET", "/ready", {"connection": "upgrade, http2-settings", "upgrade": "h2c"})
    assert answer.status == 200


# -- what must not get out, or through --------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        ["Origin: http://localhost:3000", "Access-Control-Request-Headers: a\tb, c:d, x\xe9, ok"],
        ["X-Client-Request-Id: a%0d%0aSet-Cookie: x=1"],
    ],
)
async def test_no_header_can_be_injected(rig, autojump_clock, fields):
    client = rig.connect()
    await client.raw(request("OPTIONS", "/v1/models/a%0d%0aSet-Cookie:%20x=1", *fields))
    client.expect("OPTIONS")
    answer = await client.answer()
    assert answer.status == 204
    assert "set-cookie" not in answer.headers
    assert answer.headers.get("access-control-allow-headers", "ok") == "ok"
    answer = await ask(rig, "GET", "/v1/models/a%0d%0aSet-Cookie:%20x=1")
    refused(answer, 404, "model_not_found")
    assert "set-cookie" not in answer.headers


async def test_c31_a_bug_in_a_handler_is_a_500_and_the_gateway_lives(nursery, autojump_clock, caplog):
    rig = Rig(nursery, Upstream(nursery, always=ANSWER))

    async def models():
        raise ZeroDivisionError("sk-very-secret-detail")

    rig.gateway.catalog.models = models
    client = rig.connect()
    await client.request("GET", "/v1/models", {"origin": "http://localhost:3000"})
    answer = await client.answer()
    error = refused(answer, 500, "internal_error", "server_error")
    assert "secret" not in error["message"]
    assert "ZeroDivisionError" not in error["message"]
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    (record,) = caplog.records
    assert answer.headers["x-request-id"] in record.message
    assert record.exc_info[0] is ZeroDivisionError
    await client.chat()  # the same connection, and the next one
    assert (await client.answer()).status == 200
    assert (await rig.ask()).status == 200


async def test_c31_a_bug_in_mid_stream_cuts_that_stream_and_no_other(nursery, autojump_clock, monkeypatch, caplog):
    class Buggy(Relay):
        def feed(self, data):
            return super().feed(data) if b"boom" not in data else 1 // 0

    monkeypatch.setattr("penstock.server.work.Relay", Buggy)
    go = trio.Event()
    sound = [*STREAM[:3], go, *STREAM[3:]]
    rig = Rig(nursery, Upstream(nursery, sound, stream(role(), text("Hel"), text("boom"), finish(), DONE)))
    one, other = rig.connect(), rig.connect()
    await one.chat(stream=True)
    await one.head()
    await other.chat(stream=True)
    with pytest.raises(h11.RemoteProtocolError):  # no last chunk: it must not look like an end
        await other.answer()
    assert caplog.records[-1].exc_info[0] is ZeroDivisionError
    go.set()
    pieces = [piece async for piece in pieces_of(one)]
    assert pieces[-1].endswith(b"data: [DONE]\n\n")


async def pieces_of(client):
    while piece := await client.piece():
        yield piece


async def test_c32_no_secret_is_in_what_the_door_says(nursery, autojump_clock, caplog):
    toml = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'
    rig = Rig(nursery, Upstream(nursery, always=ANSWER), toml, {"CI": "key-secret"})
    for headers, status in [
        ({"authorization": "Bearer wrong-secret"}, 401),
        ({"x-api-key": "wrong-secret"}, 401),
        ({"authorization": "Bearer key-secret", "x-penstock-timeouts": "idle=x"}, 400),
        ({"authorization": "Bearer key-secret", "content-encoding": "br"}, 415),
    ]:
        answer = await rig.ask(headers=headers)
        assert answer.status == status
        assert "secret" not in answer.body.decode() + repr(answer.headers)
    assert "secret" not in caplog.text


async def test_bytes_that_are_no_http_get_one_answer_and_the_end(rig, autojump_clock):
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"{}\r\n\r\n",
    ):
        client = rig.connect()
        await client.raw(nonsense)
        client.expect()
        answer = await client.answer()
        refused(answer, 400, "invalid_request")
        assert answer.headers["connection"] == "close"
        await ended(client)


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        ("/v1/messages/batches", {"type", "error"}),
        ("/messages/x/y", {"type", "error"}),
        ("/api/x", {"error"}),
        ("/v1/messagesx", {"error"}),
    ],
)
async def test_what_is_not_there_is_said_as_its_neighbours_would(nursery, target, shape):
    client = Rig(nursery, Upstream(nursery)).connect()
    await client.request("POST", target, {}, b"{}")
    answer = await client.answer()
    assert (answer.status, answer.json.keys()) == (404, shape)
