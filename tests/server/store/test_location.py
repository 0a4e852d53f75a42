"""Where a store is, by its URL; and that nothing of a URL is shown that need not be."""

import sys
from pathlib import Path

import pytest

from penstock.server.store.location import default_file, locate

HOME = {"HOME": "/home/ann"}


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////var/lib/penstock.db", "/var/lib/penstock.db"),
        ("sqlite:///penstock.db", "/etc/penstock/penstock.db"),
        ("sqlite:///~/penstock.db", "/home/ann/penstock.db"),
        ("sqlite:///a%20b.db", "/etc/penstock/a b.db"),
    ],
)
def test_a_file_is_absolute_or_starts_from_the_folder_of_who_said_it(url, file):
    location = locate(url, HOME, Path("/etc/penstock"))
    assert location.file == Path(file)
    assert location.shown == file


def test_without_a_url_it_is_in_the_folder_for_user_data():
    data = "Library/Application Support" if sys.platform == "darwin" else ".local/share"
    assert locate("", HOME).file == Path("/home/ann", data, "penstock/penstock.db")
    assert locate("", {**HOME, "XDG_DATA_HOME": "/data"}).file == Path("/data/penstock/penstock.db")
    assert default_file({**HOME, "XDG_DATA_HOME": "relative"}) == default_file(HOME)  # the XDG text: to be ignored
    assert default_file({}) is None
    with pytest.raises(ValueError, match="HOME is not set"):
        locate("", {})


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_server_is_shown_without_user_password_and_parameters(scheme):
    location = locate(f"{scheme}://ann:s%40cret@db.example:5433/store?sslmode=require", {})
    assert location.file is None
    assert location.url == "postgresql://ann:s%40cret@db.example:5433/store?sslmode=require"
    assert location.password == "s@cret"
    assert location.shown == "postgresql://db.example:5433/store"
    assert "cret" not in repr(location)
    assert "ann" not in repr(location)


@pytest.mark.parametrize(
    "url",
    [
        "penstock.db",
        "mysql://host/name",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://file.db",
        "sqlite:///a.db?mode=ro",
        "postgresql://",
        "postgresql://host",
        "postgresql://host/",
        "postgresql://host/a/b",
        "postgresql://host:port/name",
        "postgresql://ho st/name",
        "postgresql://[::1/name",
    ],
)
def test_what_is_no_place_for_a_store_is_refused_in_words(url):
    with pytest.raises(ValueError, match=r"^must .*\.$") as caught:
        locate(url, HOME)
    assert str(caught.value).count(".") < 4
