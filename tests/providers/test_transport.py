"""Origins: what a URL must say, and what the Host header says of it."""

import pytest

from penstock.providers.transport import Origin


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://127.0.0.1:9000/v1", Origin("http", "127.0.0.1", 9000), "127.0.0.1:9000"),
        ("https://API.openai.com/v1", Origin("https", "api.openai.com", 443), "api.openai.com"),
        ("https://host:443", Origin("https", "host", 443), "host"),
        ("http://host:443", Origin("http", "host", 443), "host:443"),
        ("http://[::1]:11434", Origin("http", "::1", 11434), "[::1]:11434"),
    ],
)
def test_parse(url, origin, authority):
    assert Origin.parse(url) == origin
    assert origin.authority == authority


@pytest.mark.parametrize(
    "url", ["", "host:80", "ftp://host", "http://", "http://host:0", "http://host:99999", "http://[::1"]
)
def test_what_is_no_origin(url):
    with pytest.raises(ValueError, match="an origin is"):
        Origin.parse(url)


def test_a_password_is_not_quoted():
    with pytest.raises(ValueError) as caught:
        Origin.parse("http://user:secret@host:secret")
    assert "secret" not in str(caught.value)
