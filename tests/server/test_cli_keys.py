"""`penstock keys`: what scripts read, what people read, and that a gateway is not needed for it."""

import json
import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from penstock.server.cli import cli
from penstock.server.cli_keys import NOTICED
from penstock.server.store.database import Database
from penstock.server.store.key_rows import digest_of, every
from penstock.server.store.keys import STALE_SECONDS
from penstock.server.store.location import locate

SECRET = re.compile(r"sk-penstock-[A-Za-z0-9_-]{43}")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command line in this process, with a data folder of the test's own."""
    for name in list(os.environ):
        if name.startswith("PENSTOCK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def run(*args, **environ):
        return CliRunner().invoke(cli, ["keys", *map(str, args)], env=environ)

    return run


@pytest.fixture
def stored(tmp_path):
    """The keys in the default file."""

    def stored():
        with Database(locate(f"sqlite:///{tmp_path}/data/penstock/penstock.db", {})) as database:
            return database.read(every)

    return stored


def test_the_key_alone_is_on_stdout_and_its_digest_alone_is_kept(run, stored, tmp_path):
    made = run("create", "laptop")
    assert made.exit_code == 0
    assert SECRET.fullmatch(made.stdout.strip())
    file = tmp_path / "data" / "penstock" / "penstock.db"
    assert made.stderr == f"The key 'laptop' is in {file}. It is shown only now.\n"
    (key,) = stored()
    assert key.digest == digest_of(made.stdout.strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    listed = run("list").stdout
    assert key.hint in listed
    assert made.stdout.strip() not in listed


def test_all_that_can_be_said_of_a_key_is_kept(run, stored):
    made = run(
        *("create", "ci", "--model", "local/*", "--model", "a/b", "--requests-per-minute", 60),
        *("--tokens-per-minute", 1000, "--parallel", 4, "--token-budget", 5000, "--budget-period", "month"),
        *("--origin", "https://chat.example", "--user", "Ann", "--expires", "2037-01-31", "--json"),
    )
    facts = json.loads(made.stdout)
    assert SECRET.fullmatch(facts["key"])
    assert facts["expires_at"] == "2037-01-31T00:00:00+00:00"
    (key,) = stored()
    assert key.terms == (
        *(("local/*", "a/b"), ("https://chat.example",), 60, 1000, 4, 5000, "month"),
        datetime(2037, 1, 31, tzinfo=UTC).timestamp(),
    )
    assert key.user == "Ann"
    (listed,) = json.loads(run("list", "--json").stdout)
    assert listed == {name: value for name, value in facts.items() if name != "key"}
    table = run("list").stdout.splitlines()
    assert table[0].split() == ["NAME", "KEY", "STATE", "MODELS", "LIMITS", "LAST", "USED"]
    assert "60 requests/min, 1000 tokens/min, 4 at once, 5000 tokens/month, until 2037-01-31" in table[1]


@pytest.mark.parametrize(
    ("said", "length"), [("90s", 90), ("45m", 2700), ("12h", 43200), ("30d", 30 * 86400), (None, None)]
)
def test_a_key_may_expire_after_a_time(run, stored, said, length):
    before = datetime.now(UTC)
    run("create", "ci", *(["--expires", said] if said else []))
    (key,) = stored()
    if said:
        expires = datetime.fromtimestamp(key.terms.expires_at, UTC)
        assert timedelta(0) <= expires - before - timedelta(seconds=length) < timedelta(minutes=1)
    else:
        assert key.terms.expires_at is None


def test_revoked_keys_are_listed_only_when_asked_for(run, stored):
    run("create", "ci")
    revoked = run("revoke", "ci")
    assert (revoked.exit_code, revoked.stdout) == (0, "")
    assert revoked.stderr == f"The key 'ci' is revoked. {NOTICED}\n"
    assert f"within {STALE_SECONDS:g} seconds" in NOTICED
    assert stored()[0].revoked_at is not None
    assert run("list").output == "There are no keys; make one: penstock keys create NAME\n"
    assert json.loads(run("list", "--json").stdout) == []
    assert "revoked" in run("list", "--all").stdout
    assert run("create", "ci").exit_code == 0


def test_a_rotated_key_is_shown_once_and_the_old_one_is_good_for_as_long_as_said(run, stored):
    first = run("create", "ci").stdout.strip()
    second = run("rotate", "ci")
    assert SECRET.fullmatch(second.stdout.strip())
    assert second.stdout.strip() != first
    assert second.stderr.endswith(f"The old one is good no more. {NOTICED}\n")
    assert stored()[0].old_digest is None
    third = run("rotate", "ci", "--grace", "1h", "--json")
    assert "The old one" not in third.stdout
    (key,) = stored()
    assert key.old_digest == digest_of(second.stdout.strip())
    assert key.digest == digest_of(json.loads(third.stdout)["key"])
    assert key.old_until - key.rotated_at == 3600


@pytest.mark.parametrize("command", ["revoke", "rotate", "list"])
def test_to_look_for_a_key_makes_no_store(run, tmp_path, command):
    result = run(command, *([] if command == "list" else ["ci"]))
    if command != "list":
        assert result.exit_code == 1
        assert result.stderr == "penstock: There is no key named 'ci'; see: penstock keys list\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "taken"], "There is a key named 'taken' already; revoke or rotate it, or take another name."),
        (["create", " "], "A key's name must be readable, without a slash, and not longer than 100 characters."),
        (["create", "a\nb"], "A key's name must be readable, without a slash, and not longer than 100 characters."),
        (["create", "a/b"], "A key's name must be readable, without a slash, and not longer than 100 characters."),
        (["create", "x" * 101], "A key's name must be readable, without a slash, and not longer than 100 characters."),
        (["create", "x", "--origin", "chat"], "'chat' is no origin like https://chat.example.com, without a path."),
        (["revoke", "x"], "There is no key named 'x'; see: penstock keys list"),
        (["rotate", "x"], "There is no key named 'x'; see: penstock keys list"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(run, arguments, words):
    run("create", "taken")
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"penstock: {words}\n")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--expires", "soon"], "'soon' is no length of time like 90s, 45m, 12h or 30d."),
        (["--expires", "2020-01-31"], "2020-01-31: The moment at which it expires is past."),
        (["--expires", "999999999d"], "It must expire before the year 10000"),
        (["--parallel", "-1"], "'-1' is no whole number from 0 to 9007199254740992."),
        (["--token-budget", "9007199254740993"], "is no whole number"),
        (["--budget-period", "week"], "'week' is not one of"),
    ],
)
def test_what_an_option_cannot_mean_is_a_wrong_command_line(run, tmp_path, option, words):
    result = run("create", "ci", *option)
    assert result.exit_code == 2
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_the_one_that_the_configuration_names(run, tmp_path):
    (tmp_path / "penstock.toml").write_text('[store]\nurl = "sqlite:///own.db"\n[providers.up]\napi_key = {env = "NO"}')
    assert run("create", "ci", "--config", tmp_path / "penstock.toml").exit_code == 0
    assert (tmp_path / "own.db").exists()
    url = f"sqlite:///{tmp_path}/own.db"
    assert "ci" in run("list", PENSTOCK_STORE__URL=url).stdout


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"PENSTOCK_STORE__ENABLED": "false"}, "There is no store to keep keys in: store.enabled is false."),
        ({"PENSTOCK_STORE_URL": "x"}, "PENSTOCK_STORE__URL?"),
        ({"PENSTOCK_STORE__URL": "mysql://h/n"}, "must be an address like"),
        ({"PENSTOCK_STORE__URL": "postgresql://u@127.0.0.1:1/n"}, "cannot be opened: connection failed"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_in_a_sentence(run, environ, words):
    result = run("create", "ci", **environ)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_needs_no_database():
    code = "import sys; from penstock.server.cli import cli; print('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("command", ["create", "list", "revoke", "rotate"])
def test_each_command_shows_how_it_is_used(run, command):
    assert f"\n    penstock keys {command}" in run(command, "--help").stdout
