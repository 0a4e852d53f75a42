"""Keys, Host and Origin, and what must not be shown."""

import hashlib
import json
import logging
import sys
import time

import pytest

from penstock.protocol.chat import Failed
from penstock.server.access import Access, Key, KeyRing, is_loopback, refusal_to_start
from penstock.server.config import load
from penstock.server.redaction import MASK, MAX_TEXT, LogFormatter, Redactor


def key(name, secret, models=("*",)):
    return Key(name, hashlib.sha256(secret.encode()).digest(), models)


def access(**server):
    return Access(load(None, {}, options={f"server.{name}": value for name, value in server.items()}))


# Keys


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer one"},
        {"authorization": "bearer  one "},
        {"api-key": "one"},
        {"x-api-key": "one"},
        {"authorization": "Bearer sk-dummy", "x-api-key": "one"},
        {"authorization": "Basic b25l", "api-key": "one"},
    ],
)
def test_a_key_is_found_in_each_header_that_clients_use(headers):
    found = KeyRing([key("a", "one"), key("b", "two")]).identify(headers)
    assert found is not None
    assert found.name == "a"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer on"},
        {"authorization": "Bearer one, Bearer one"},
        {"authorization": "Basic one"},
        {"authorization": "one"},
        {"x-api-key": "One"},
        {"x-api-key": "\udcff"},
        {"x-api-key": "one" * 100_000},
        {"cookie": "one"},
    ],
)
def test_anything_else_is_no_key(headers):
    assert KeyRing([key("a", "one")]).identify(headers) is None


def test_a_ring_without_keys_is_false_and_knows_nobody():
    assert not KeyRing([])
    assert KeyRing([key("a", "one")])
    assert KeyRing([]).identify({"authorization": "Bearer "}) is None


def test_the_ring_holds_no_key(tmp_path):
    (tmp_path / "f.toml").write_text('[[keys]]\nname = "ci"\nkey = { env = "CI" }')
    config = load(tmp_path / "f.toml", {"CI": "plain-secret"})
    (only,) = config.keys
    assert only.digest == hashlib.sha256(b"plain-secret").digest()
    assert "plain-secret" not in repr([getattr(only, name) for name in Key.__slots__])
    assert "plain-secret" not in config.secrets.values()


@pytest.mark.parametrize(
    ("patterns", "model", "may"),
    [
        (["*"], "local/tiny", True),
        (["local/*"], "local/tiny", True),
        (["local/*"], "local/org/model:free", True),
        (["local/*"], "local2/tiny", False),
        (["local/*"], "xlocal/tiny", False),
        (["local/*"], "LOCAL/tiny", False),
        (["local/*"], "local", False),
        (["local/tiny"], "local/tiny", True),
        (["local/tiny"], "local/tiny\n", False),
        (["local/tiny"], "local/tiny2", False),
        (["a/x", "*/y"], "b/y", True),
        (["*/gpt-4*"], "openai/gpt-4o", True),
        (["*/gpt-4*"], "openai/gpt-5", False),
        ([], "a/b", False),
    ],
)
def test_c82_patterns_are_judged_on_what_is_really_called(patterns, model, may):
    assert key("k", "s", patterns).may_use(model) is may


# Host and Origin, without keys


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LOCALHOST:8777",
        "localhost.",
        "penstock.localhost:80",
        "127.0.0.1",
        "127.0.0.1:8777",
        "127.9.9.9",
        "[::1]",
        "[::1]:8777",
        "[::ffff:127.0.0.1]",
    ],
)
def test_loopback_names_are_ours(host):
    assert access().refuse_foreign(host, None) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8777",
        "localhost.evil.example",
        "evil-localhost",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost, evil.example",
        "localhost:x",
        "192.168.1.2",
        "0.0.0.0",
        "[fd00::1]:8777",
        "127.1",
        "localhost\x00",
        "localhost/",
        "ⓛocalhost",
    ],
)
def test_dns_rebinding_any_other_host_is_refused(host):
    said = access().refuse_foreign(host, None)
    assert said is not None
    assert "server.allowed_hosts" in said


def test_names_that_the_user_allows_are_ours():
    judge = access(allowed_hosts=["penstock", "*.lan", "10.0.0.5"])
    for host in ("penstock:8777", "a.lan", "A.B.LAN", "10.0.0.5"):
        assert judge.refuse_foreign(host, None) is None
    for host in ("lan", "evil-penstock", "a.lan.evil.example", "xlan", "10.0.0.6"):
        assert judge.refuse_foreign(host, None) is not None


def test_open_without_keys_on_another_address_takes_addresses_but_no_names():
    judge = access(host="0.0.0.0", open_without_keys=True)
    assert judge.refuse_foreign("192.168.1.2:8777", None) is None
    assert judge.refuse_foreign("[fd00::1]", None) is None
    assert judge.refuse_foreign("evil.example", None) is not None
    assert judge.refuse_foreign("192.168.1.2:8777", "http://evil.example") is not None
    assert access(open_without_keys=True).refuse_foreign("192.168.1.2", None) is not None


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "http://localhost",
        "https://127.0.0.1:1",
        "http://[::1]:8080",
        "http://tauri.localhost",
        "vscode-webview://1a2b",
        "chrome-extension://abcdef",
        "file://",
    ],
)
def test_pages_of_this_machine_and_installed_programs_may_call(origin):
    assert access().refuse_foreign("localhost", origin) is None
    assert access().allows_origin(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.example",
        "https://localhost.evil.example",
        "http://localhost@evil.example",
        "http://localhost.evil.example:8777",
        "http://127.0.0.1.evil.example",
        "http://localhost:3000, http://evil.example",
        "http://localhost/evil",
        "http://localhost:99x",
        "localhost",
        "javascript://localhost",
        "http://192.168.1.9",
        "*",
    ],
)
def test_a_foreign_origin_is_refused(origin):
    said = access().refuse_foreign("localhost", origin)
    assert said is not None
    assert "server.allowed_origins" in said
    assert not access().allows_origin(origin)


def test_origins_of_the_user_replace_the_default():
    judge = access(allowed_origins=["https://Chat.example.com"], allowed_hosts=["api.example.com"])
    assert judge.allows_origin("https://chat.example.com")
    assert not judge.allows_origin("http://chat.example.com")
    assert not judge.allows_origin("https://chat.example.com:444")
    assert judge.refuse_foreign("localhost", "http://localhost:3000") is not None
    assert judge.refuse_foreign("api.example.com", "https://api.example.com") is None, "our own page"
    assert judge.refuse_foreign("api.example.com", "https://api.example.com:1") is not None


def test_a_wildcard_allows_every_origin(tmp_path):
    (tmp_path / "f.toml").write_text('server.allowed_origins = ["*"]\n[[keys]]\nname = "a"\nkey = { env = "K" }')
    assert Access(load(tmp_path / "f.toml", {"K": "secret"})).allows_origin("https://anything.example")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("myhost", False),
    ],
)
def test_an_address_that_others_reach_needs_keys(tmp_path, host, loopback):
    assert is_loopback(host) is loopback
    options = {"server.host": host}
    refusal = refusal_to_start(load(None, {}, options=options))
    assert (refusal is None) is loopback
    if refusal is not None:
        assert host in refusal
        assert "[[keys]]" in refusal
        assert "penstock keys create" in refusal
        assert "server.open_without_keys = true" in refusal
    assert refusal_to_start(load(None, {}, options={**options, "server.open_without_keys": True})) is None
    (tmp_path / "f.toml").write_text('[[keys]]\nname = "a"\nkey = { env = "K" }')
    assert refusal_to_start(load(tmp_path / "f.toml", {"K": "secret"}, options=options)) is None
    assert refusal_to_start(load(None, {}, options=options), keys=True) is None


# Secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad key upstream-secret!", f"bad key {MASK}!"),
        ("x=upstream%2Fsecret", f"x={MASK}"),
        ("Incorrect API key provided: sk-proj-****cdef.", f"Incorrect API key provided: {MASK}"),
        ("key sk-abcdef123456, sorry", f"key {MASK}, sorry"),
        ("'Authorization': 'Bearer abc123def'", f"'Authorization': 'Bearer {MASK}'"),
        ("https://user:hunter@db.example/x", f"https://{MASK}@db.example/x"),
        ("postgresql://me:p@ss@db:5432/x failed", f"postgresql://{MASK}@db:5432/x failed"),
        ("host=db password=hunter dbname=x", f"host=db password={MASK} dbname=x"),
        ('{"api_key": "abcdef"}', f'{{"api_key": "{MASK}"}}'),
        ("GET /v1?key=AbCdEf&alt=sse", f"GET /v1?key={MASK}&alt=sse"),
        ("AIzaSyA1234567890abcdefghijk", MASK),
        ("gsk_abcdefghijkl and hf_abcdefghijkl", f"{MASK} and {MASK}"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln", MASK),
    ],
)
def test_c32_secrets_are_not_in_error_text(text, shown):
    redactor = Redactor(["upstream-secret", "upstream/secret"])
    assert redactor.text(text) == shown
    assert redactor.text(shown) == shown, "what is clean stays as it is"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The model 'task-12345678' does not exist",
        "Bearer authentication required",
        "Invalid API key: please log in",
        "max_tokens: 4096 is too large: at most 1024 tokens",
        "Rate limit reached for gpt-4o in organization org-abc on tokens per min. Visit https://platform.openai.com/x.",
        "Unexpected token: }",
        "Временная ошибка 🙃",
    ],
)
def test_ordinary_errors_stay_as_they_are(text):
    assert Redactor(["upstream-secret"]).text(text) == text


def test_a_longer_secret_is_not_left_half_standing_by_a_shorter():
    assert Redactor(["abcd", "abcdefgh", "", "x"]).text("abcdefgh x abcd") == f"{MASK} x {MASK}"


def test_a_failure_is_clean_in_all_its_parts():
    native = {"message": "key upstream-secret", "upstream-secret": [{"deep": "Bearer upstream-secret"}], "n": 3}
    failed = Redactor(["upstream-secret"]).failed(
        Failed("key upstream-secret", 401, "auth", "upstream-secret", None, False, 2.5, native)
    )
    assert "upstream-secret" not in repr(failed)
    assert failed.native == {"message": f"key {MASK}", MASK: [{"deep": f"Bearer {MASK}"}], "n": 3}
    assert (failed.status, failed.type, failed.param, failed.retry, failed.retry_after) == (
        401,
        "auth",
        None,
        False,
        2.5,
    )


def test_an_error_object_nested_without_end_is_cut():
    value = "upstream-secret"
    for _ in range(200):
        value = [value]
    failed = Redactor().failed(Failed("x", native={"v": value}))
    assert "upstream-secret" not in json.dumps(failed.native)


def test_a_long_text_is_cut_between_words_so_that_no_half_of_a_secret_shows():
    text = Redactor(["upstream-secret"]).text("a " * (MAX_TEXT // 2 - 3) + "upstream-secret" * 9)
    assert len(text) <= MAX_TEXT + 4
    assert "upstr" not in text
    assert Redactor().text("x" * (MAX_TEXT + 1)) == " ..."


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "sk-",
        "://",
        "://a@",
        "eyJ-",
        "-eyJa",
        "password=",
        "password : ",
        "bearer ",
        "api key ",
        "'",
        "=:",
        "&key=",
    ],
)
def test_the_work_grows_with_the_text_and_no_faster(piece):
    redactor = Redactor(["upstream-secret"])

    def cost(length):
        text = (piece * (length // len(piece) + 1))[:length]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            redactor.text(text)
            times.append(time.perf_counter() - start)
        return min(times)

    # Quadratic work would be 64 times as much for 8 times the text.
    assert cost(MAX_TEXT) < 24 * cost(MAX_TEXT // 8) + 0.002


def test_logs_are_clean_tracebacks_included():
    try:
        raise ValueError("refused upstream-secret")
    except ValueError:
        record = logging.LogRecord("p", logging.ERROR, "f", 1, "call with %s", ("upstream-secret",), sys.exc_info())
    text = LogFormatter(Redactor(["upstream-secret"]), "%(levelname)s %(message)s").format(record)
    assert text.startswith(f"ERROR call with {MASK}\nTraceback")
    assert "upstream-secret" not in text
