"""Which proxy the environment names for which upstream."""

import pytest

from penstock.providers.proxies import proxy_for
from penstock.providers.transport import Origin

API = Origin("https", "api.openai.com", 443)
PLAIN = Origin("http", "models.example", 8000)
PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("environ", "origin", "proxy"),
    [
        ({}, API, None),
        ({"HTTPS_PROXY": PROXY}, API, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, API, PROXY),
        ({"HTTPS_PROXY": PROXY}, PLAIN, None),
        ({"HTTP_PROXY": PROXY}, PLAIN, PROXY),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, PLAIN, None),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, PLAIN, PROXY),
        ({"ALL_PROXY": "socks5://proxy"}, API, "socks5://proxy"),
        ({"ALL_PROXY": "socks5://proxy", "https_proxy": PROXY}, API, PROXY),
        ({"HTTPS_PROXY": "proxy:3128"}, API, PROXY),
        ({"HTTPS_PROXY": " "}, API, None),
    ],
)
def test_variables(environ, origin, proxy):
    assert proxy_for(origin, environ) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "excepted"),
    [
        ("*", True),
        ("api.openai.com", True),
        ("API.OpenAI.com", True),
        ("openai.com", True),
        (".openai.com", True),
        ("*.openai.com", True),
        ("example.org, openai.com", True),
        ("example.org openai.com", True),
        ("api.openai.com:443", True),
        ("api.openai.com:80", False),
        ("nai.com", False),
        ("api.openai.com.evil.org", False),
        ("10.0.0.0/8", False),
        (",", False),
        ("", False),
    ],
)
def test_exceptions_by_name(no_proxy, excepted):
    assert (proxy_for(API, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) is None) is excepted


@pytest.mark.parametrize(
    ("host", "no_proxy", "excepted"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:8000", True),
        ("10.1.2.3", "10.1.2.3:8001", False),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "[2001:db8::1]:8000", True),
        ("2001:db8::1", "10.0.0.0/8", False),
    ],
)
def test_exceptions_by_address(host, no_proxy, excepted):
    environ = {"http_proxy": PROXY, "no_proxy": no_proxy}
    assert (proxy_for(Origin("http", host, 8000), environ) is None) is excepted


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "ollama.localhost"])
def test_this_machine_is_reached_without(host):
    assert proxy_for(Origin("http", host, 11434), {"ALL_PROXY": PROXY}) is None
