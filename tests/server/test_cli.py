"""The command: what it prints, on which stream, and with which exit code."""

import os
import subprocess
import sys

import pytest
import trustme
from click.testing import CliRunner

import penstock
from penstock.server.cli import cli
from penstock.server.config import Server, StartError

ENTRY = "from penstock.server.entry import main; main()"


@pytest.fixture
def run(monkeypatch):
    """Run the command line in this process, without this machine's variables."""
    for name in list(os.environ):
        if name.startswith(("PENSTOCK_", "OLLAMA_")) or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)

    def run(*args, **environ):
        return CliRunner().invoke(cli, [str(arg) for arg in args], env=environ)

    return run


@pytest.fixture
def served(monkeypatch):
    """The configurations that `serve` would have served; the module that serves is not imported."""
    served = []

    class App:
        outcome = 0

        def run(self, config):
            served.append(config)
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

    app = App()
    monkeypatch.setitem(sys.modules, "penstock.server.app", app)
    monkeypatch.setattr(sys.modules["penstock.server"], "app", app, raising=False)
    app.served = served
    return app


def entry(*args, code=ENTRY, **environ):
    """Run the command as a process."""
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=30,
        env={"PATH": os.environ["PATH"], **environ},
    )


# serve


def test_serve_hands_over_the_configuration_and_returns_the_exit_code(run, served, tmp_path):
    (tmp_path / "p.toml").write_text("[server]\nport = 1\n[timeouts]\nidle = 7")
    served.outcome = 3
    result = run("serve", "--config", tmp_path / "p.toml", "--port", 9, "--host", "::1", PENSTOCK_SERVER__PORT="5")
    assert result.exit_code == 3
    (config,) = served.served
    assert (config.server.host, config.server.port, config.timeouts.idle) == ("::1", 9, 7)
    assert config.server.open_without_keys is False


def test_the_file_may_be_named_by_a_variable(run, served, tmp_path):
    (tmp_path / "p.toml").write_text("server.port = 1")
    assert run("serve", PENSTOCK_CONFIG=str(tmp_path / "p.toml")).exit_code == 0
    assert served.served[0].server.port == 1


def test_an_open_address_without_keys_is_refused_and_the_switch_is_named(run, served):
    result = run("serve", "--host", "0.0.0.0")
    assert result.exit_code == 1
    assert "server.open_without_keys" in result.stderr
    assert "--open-without-keys" in result.stderr
    assert not served.served
    assert run("serve", "--host", "0.0.0.0", "--open-without-keys").exit_code == 0
    assert run("serve", "--host", "0.0.0.0", PENSTOCK_SERVER__OPEN_WITHOUT_KEYS="1").exit_code == 0
    assert [config.server.open_without_keys for config in served.served] == [True, True]


def test_what_keeps_it_from_starting_is_one_sentence(run, served):
    served.outcome = StartError("Port 8777 on 127.0.0.1 is in use.")
    result = run("serve")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "penstock: Port 8777 on 127.0.0.1 is in use.\n"


@pytest.mark.parametrize("command", [["serve"], ["config", "check"], ["config", "show"]])
def test_a_wrong_configuration_is_one_sentence_everywhere(run, served, tmp_path, command):
    (tmp_path / "p.toml").write_text("server.prot = 1")
    result = run(*command, "--config", tmp_path / "p.toml")
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("penstock: server.prot (")
    assert not served.served


def test_a_wrong_command_line_is_exit_code_2(run, served):
    assert run("serve", "--prot", "1").exit_code == 2
    assert run("serve", "--port", "x").exit_code == 2


# config


def test_check_says_what_would_be_served(run, tmp_path):
    (tmp_path / "p.toml").write_text('[providers.local]\n[[keys]]\nname = "ci"\nkey = { env = "K" }')
    result = run("config", "check", "--config", tmp_path / "p.toml", K="secret-of-ci")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Providers: echo, local. Keys: ci." in result.stdout
    assert "secret" not in result.stdout


def test_check_refuses_what_serve_would_refuse(run):
    assert run("config", "check", PENSTOCK_SERVER__HOST="0.0.0.0").exit_code == 1


def test_check_finds_what_only_shows_when_it_is_put_together(run, tmp_path):
    (tmp_path / "p.toml").write_text('[providers.local]\nheaders = { "not a name" = "x" }')
    result = run("config", "check", "--config", tmp_path / "p.toml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "headers of provider 'local'" in result.stderr


def test_check_finds_a_certificate_that_does_not_fit_its_key(run, tmp_path):
    authority = trustme.CA()
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "p.toml").write_text('[server]\ntls_cert = "cert.pem"\ntls_key = "key.pem"')
    result = run("config", "check", "--config", tmp_path / "p.toml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not belong to the certificate" in result.stderr


def test_show_masks_secrets_and_names_the_origin_of_values(run, tmp_path):
    (tmp_path / "p.toml").write_text('[providers.local]\nbase_url = "http://h/v1?key=abc123"\napi_key = { env = "K" }')
    result = run("config", "show", "--config", tmp_path / "p.toml", K="sk-secret-1234", PENSTOCK_SERVER__PORT="9")
    assert result.exit_code == 0
    assert "PENSTOCK_SERVER__PORT" in result.stdout
    assert 'providers.local.api_key = { env = "K" }' in result.stdout
    assert "sk-secret" not in result.stdout
    assert "abc123" not in result.stdout


# help


def test_help_teaches(run):
    text = run("--help").stdout
    for words in ("penstock serve", "curl -N http://127.0.0.1:8777", "OPENAI_API_KEY=", "base_url="):
        assert words in text
    text = run("serve", "--help").stdout
    for words in ("--config", "--open-without-keys", "[providers.local]", "penstock serve --port 9000"):
        assert words in text


def test_every_option_of_serve_is_a_setting():
    names = {parameter.name for parameter in cli.commands["serve"].params} - {"file"}
    assert names
    assert names <= set(Server.__struct_fields__)


# The entry, as a process


def test_version_as_a_process():
    result = entry("--version")
    assert (result.returncode, result.stdout) == (0, f"penstock {penstock.__version__}\n")


def test_an_error_as_a_process():
    result = entry("config", "check", PENSTOCK_SERVER__PORT="x")
    assert result.returncode == 1
    assert result.stderr.startswith("penstock: server.port (environment variable PENSTOCK_SERVER__PORT) must be")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("missing", ["click", "trio", "msgspec"])
def test_the_bare_install_says_what_to_install(missing):
    hide = (
        "import importlib.util as u; find = u.find_spec; "
        f"u.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest); "
    )
    result = entry("serve", code=hide + ENTRY)
    assert (result.returncode, result.stdout) == (1, "")
    assert "pip install 'penstock[server]'" in result.stderr
    assert missing in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_command_line_loads_nothing_that_serves():
    code = (
        "import sys; import penstock.server.entry; "
        "assert not {'click', 'trio', 'msgspec'} & set(sys.modules), 'the entry is for the bare install'; "
        "import penstock.server.cli; "
        "print(sorted({'trio', 'httpx', 'h11', 'asyncio', 'ssl', 'tomllib', 'difflib'} & set(sys.modules)))"
    )
    result = entry(code=code)
    assert (result.stdout, result.stderr) == ("[]\n", "")
