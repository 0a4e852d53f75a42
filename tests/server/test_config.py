"""The configuration: what is read from where, and that every mistake is told in one plain sentence."""

import re
from pathlib import Path

import msgspec
import pytest
from msgspec import UNSET

from penstock.providers.settings import DEFAULT_TIMEOUTS, ProviderSettings, RouteTarget
from penstock.server.banner import banner
from penstock.server.config import (
    ConfigError,
    KeySettings,
    Limits,
    Server,
    Shape,
    StoreSettings,
    TimeoutTable,
    load,
)
from penstock.server.config_reader import plain_type
from penstock.server.config_show import show
from penstock.server.discovery import ollama_url

EXAMPLE = """\
[server]
host = "127.0.0.1"
port = 8777
[timeouts]                      # seconds; 0 means none; upstream ones may also stand in a provider
connect = 10
first_event = 120
idle = 30
write = 30
answer = 300                    # whole answer of what does not stream
total = 0
keepalive = 0
drain = 30
header = 10
body = 30
keep_alive = 75
[limits]
header_bytes = 65536
body_bytes = 33554432
frame_bytes = 16777216
json_depth = 128
connections = 10000
[providers.local]
preset = "openai"
base_url = "http://127.0.0.1:9000/v1"
api_key = { env = "LOCAL_KEY" }
models = ["tiny"]
on_client_gone = "cancel"
parallel = 0
timeouts = { first_event = 300 }
[providers.backup]
preset = "ollama"
[routes.safe]
providers = ["local", { provider = "backup", model = "other" }]
[aliases]
fast = "local/tiny"
[[keys]]
name = "ci"
key = { env = "CI_KEY" }
models = ["local/*"]
"""
ENVIRON = {"LOCAL_KEY": "sk-local-secret", "CI_KEY": "ci-secret-0001"}


@pytest.fixture
def read(tmp_path):
    """Load a configuration from TOML text and variables."""

    def read(toml="", environ=ENVIRON, **options):
        file = tmp_path / "penstock.toml"
        file.write_text(toml, encoding="utf-8")
        return load(file, environ, options={key.replace("__", "."): value for key, value in options.items()})

    return read


@pytest.fixture
def refused(read):
    """The sentence with which a configuration is refused."""

    def refused(toml="", environ=ENVIRON, **options):
        with pytest.raises(ConfigError) as caught:
            read(toml, environ, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert message.endswith((".", "?"))
        return message

    return refused


# What is read


def test_the_documented_file_is_read_as_it_is_documented(read):
    config = read(EXAMPLE)
    assert (config.server.host, config.server.port) == ("127.0.0.1", 8777)
    assert config.timeouts.drain == 30
    assert config.timeouts.upstream.idle == 30
    assert config.limits.frame_bytes == 16777216
    assert list(config.providers) == ["echo", "local", "backup"]
    assert config.providers["local"].timeouts.first_event == 300
    assert config.routes["safe"].providers == ["local", RouteTarget(provider="backup", model="other")]
    assert config.aliases == {"fast": "local/tiny"}
    assert config.secrets == {"local": "sk-local-secret"}
    assert [key.name for key in config.keys] == ["ci"]


def test_an_empty_file_means_the_defaults_and_echo(read):
    config = read("", {"OPENAI_API_KEY": "sk-x", "OLLAMA_HOST": "box"})
    assert list(config.providers) == ["echo"]
    assert DEFAULT_TIMEOUTS.with_changes(config.timeouts.upstream) == DEFAULT_TIMEOUTS


def test_the_environment_beats_the_file_and_the_command_line_beats_both(read):
    config = read("[server]\nport = 1\nhost = 'localhost'", {"PENSTOCK_SERVER__PORT": "2"})
    assert (config.server.host, config.server.port) == ("localhost", 2)
    config = read("[server]\nport = 1", {"PENSTOCK_SERVER__PORT": "2"}, server__port=3)
    assert config.server.port == 3


@pytest.mark.parametrize(
    ("name", "text", "look", "value"),
    [
        ("SERVER__OPEN_WITHOUT_KEYS", "true", lambda c: c.server.open_without_keys, True),
        ("SERVER__HALF_CLOSED", "serve", lambda c: c.server.half_closed, "serve"),
        ("SERVER__ALLOWED_HOSTS", "a.lan, b.lan", lambda c: c.server.allowed_hosts, ["a.lan", "b.lan"]),
        ("SERVER__ALLOWED_HOSTS", '["a.lan"]', lambda c: c.server.allowed_hosts, ["a.lan"]),
        ("SERVER__HOST", "  ", lambda c: c.server.host, "127.0.0.1"),
        ("TIMEOUTS__IDLE", "2.5", lambda c: c.timeouts.upstream.idle, 2.5),
        ("LIMITS__BODY_BYTES", "1000", lambda c: c.limits.body_bytes, 1000),
        ("PROVIDERS__LOCAL__BASE_URL", "http://h/v1", lambda c: c.providers["local"].base_url, "http://h/v1"),
        ("PROVIDERS__LOCAL__MODELS", "a,b", lambda c: c.providers["local"].models, ["a", "b"]),
        ("PROVIDERS__LOCAL__TIMEOUTS__IDLE", "9", lambda c: c.providers["local"].timeouts.idle, 9),
        ("PROVIDERS__LOCAL__HEADERS__X_TEAM", "a", lambda c: c.providers["local"].headers, {"x-team": "a"}),
        ("PROVIDERS__NEW", '{"preset": "ollama"}', lambda c: c.providers["new"].preset, "ollama"),
        ("ROUTES__SAFE__PROVIDERS", "backup,local", lambda c: c.routes["safe"].providers, ["backup", "local"]),
        ("ALIASES__FAST", "backup/x", lambda c: c.aliases, {"fast": "backup/x"}),
        ("KEYS__CI__MODELS", "*", lambda c: c.shape.keys[0].models, ["*"]),
        ("KEYS__TWO__KEY__ENV", "LOCAL_KEY", lambda c: [key.name for key in c.keys], ["ci", "two"]),
    ],
)
def test_every_kind_of_setting_has_a_variable(read, name, text, look, value):
    assert look(read(EXAMPLE, {**ENVIRON, f"PENSTOCK_{name}": text})) == value


def test_a_variable_finds_a_name_that_no_variable_could_spell(read):
    config = read("[providers.My-Box]", {"PENSTOCK_PROVIDERS__MY_BOX__PARALLEL": "3"})
    assert config.providers["My-Box"].parallel == 3


def test_what_kubernetes_sets_for_a_service_named_penstock_is_not_ours(read):
    environ = {"PENSTOCK_PORT": "tcp://10.0.0.7:8777", "PENSTOCK_SERVICE_HOST": "10.0.0.7"}
    environ |= {"PENSTOCK_PORT_8777_TCP": "tcp://10.0.0.7:8777", "PENSTOCK_SERVER_PORT": "tcp://10.0.0.8:1"}
    assert read("", environ).server.port == 8777


def test_keys_come_from_files_too_and_paths_start_at_the_configuration(read, tmp_path):
    (tmp_path / "upstream.key").write_text("sk-from-a-file\n")
    config = read('[providers.local]\napi_key = { file = "upstream.key" }')
    assert config.secrets == {"local": "sk-from-a-file"}


def test_paths_in_variables_start_at_the_current_folder(read, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "k").write_text("sk-from-here")
    monkeypatch.chdir(tmp_path / "here")
    environ = {"PENSTOCK_PROVIDERS__LOCAL__API_KEY__FILE": "k"}
    assert read("[providers.local]", environ).secrets == {"local": "sk-from-here"}


def test_a_vendors_key_goes_to_the_vendor_and_nowhere_else(read):
    toml = '[providers.a]\npreset = "deepseek"\n[providers.b]\npreset = "deepseek"\nbase_url = "http://b/v1"'
    assert read(toml, {"DEEPSEEK_API_KEY": " sk-deep "}).secrets == {"a": "sk-deep"}


# Nothing configured


def test_without_a_file_there_is_what_the_environment_offers():
    config = load(None, {"OPENAI_API_KEY": "sk-1", "OPENROUTER_API_KEY": "", "ANTHROPIC_API_KEY": "sk-2"})
    assert list(config.providers) == ["echo", "openai", "anthropic", "ollama"]
    assert config.secrets == {"openai": "sk-1", "anthropic": "sk-2"}
    assert config.providers["ollama"].base_url is UNSET


def test_what_the_user_calls_so_beats_what_would_be_offered():
    environ = {"OPENAI_API_KEY": "sk-1", "PENSTOCK_ALIASES__OPENAI": "echo/echo", "PENSTOCK_ALIASES__OLLAMA": "echo"}
    environ["PENSTOCK_PROVIDERS__ECHO__BASE_URL"] = "http://127.0.0.1:1/v1"
    config = load(None, environ | {"PENSTOCK_ALIASES__OLLAMA": "echo/x"})
    assert list(config.providers) == ["echo"]
    assert config.providers["echo"].preset == "openai"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", ""),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]", "http://127.0.0.1:11434"),
        (":9999", "http://127.0.0.1:9999"),
        ("box", "http://box:11434"),
        ("10.0.0.2:1234", "http://10.0.0.2:1234"),
        ("http://box", "http://box:80"),
        ("https://box/ollama/", "https://box:443/ollama"),
        ("[fd00::1]:9", "http://[fd00::1]:9"),
        ("fd00::1", "http://[fd00::1]:11434"),
        ("box:99999", "http://box:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host, url):
    assert ollama_url(host) == url


@pytest.mark.parametrize("host", ["my box", "ftp://box", "a@b"])
def test_an_ollama_host_that_is_no_address_is_said_so(host):
    with pytest.raises(ConfigError, match="OLLAMA_HOST"):
        load(None, {"OLLAMA_HOST": host})


# Mistakes


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("[server]\nprot = 1", ["server.prot", "penstock.toml, line 2", "did you mean server.port?"]),
        ("[sever]", ["sever", "line 1", "did you mean server?"]),
        ("colour = 1", ["colour", "line 1", "the keys here are server, timeouts"]),
        ('[server]\n\nport = "80"', ["server.port", "line 3", "a port from 1 to 65535", "not text"]),
        ("[server]\nport = 70000", ["server.port", "a port from 1 to 65535", "70000"]),
        ("server.port = true", ["server.port", "line 1", "True"]),
        ("server = 3", ["server", "must be a table", "not 3"]),
        ('[server]\nhost = ""', ["server.host", "an address"]),
        ('[server]\nhalf_closed = "leav"', ["server.half_closed", '"leave" or "serve"', "did you mean leave?"]),
        ('[server]\ntrusted_proxies = ["10.0.0.0/8", "proxy"]', ["server.trusted_proxies[1]", "line 2", "network"]),
        ('[server]\nallowed_hosts = ["*"]', ["server.allowed_hosts[0]", "* is not"]),
        ('[server]\nallowed_origins = ["null"]', ["server.allowed_origins[0]", "any page"]),
        ('[server]\nallowed_origins = ["*"]', ["server.allowed_origins[0]", "no keys"]),
        ('[server]\nallowed_origins = ["chat.example"]', ["server.allowed_origins[0]", "https://chat.example.com"]),
        ('[server]\ntls_cert = "c.pem"', ["server.tls_cert", "needs server.tls_key"]),
        ('[server]\ntls_cert = "c.pem"\ntls_key = "k.pem"', ["server.tls_cert", "line 2", "c.pem", "No such file"]),
        ("[timeouts]\nidle = -1", ["timeouts.idle", "line 2", "a number of seconds", "-1"]),
        ("[timeouts]\nidle = nan", ["timeouts.idle", "a number of seconds"]),
        ("[timeouts]\nidle = inf", ["timeouts.idle", "a number of seconds"]),
        ("[limits]\nbody_bytes = 0", ["limits.body_bytes", "at least 1"]),
        ("[limits]\njson_depth = 5000", ["limits.json_depth", "from 1 to 512"]),
        ('[providers.x]\npreset = "opnai"', ["providers.x.preset", "line 2", "did you mean openai?"]),
        ('[providers.x]\nbase_url = "localhost:9"', ["providers.x.base_url", "http://127.0.0.1:9000/v1"]),
        ('[providers.x]\nbase_url = "http://u:pw@h/"', ["providers.x.base_url", "user or password"]),
        ("[providers.x]\ntimeouts = { idle = -1 }", ["providers.x.timeouts.idle", "line 2"]),
        ("[providers.x]\ntimeouts = { drain = 1 }", ["providers.x.timeouts.drain", "not a setting"]),
        ("[providers.x]\nparallel = -1", ["providers.x.parallel", "0 for no limit"]),
        ('[providers.x]\nca_file = "none.pem"', ["providers.x.ca_file", "none.pem", "No such file"]),
        ('[providers.x]\nmodels = "a"', ["providers.x.models", "a list of texts", "not text"]),
        ("[providers.x]\nmodels = [1]", ["providers.x.models[0]", "line 2", "text"]),
        ('[providers."a/b"]', ['providers."a/b"', "line 1", "letters, digits"]),
        ('[providers.x]\napi_key = { env = "A", file = "b" }', ["providers.x.api_key", "not by both"]),
        ("[providers.x]\napi_key = {}", ["providers.x.api_key", "either env or file"]),
        ('[providers.x]\napi_key = { env = "NOPE" }', ["providers.x.api_key.env", "NOPE", "is not set", "line 2"]),
        ('[providers.x]\napi_key = { file = "no" }', ["providers.x.api_key.file", "cannot be read", "No such file"]),
        ("[routes.r]\nproviders = []", ["routes.r.providers", "at least one"]),
        ("[routes.r]", ["routes.r.providers", "is missing"]),
        ('[providers.local]\n[routes.r]\nproviders = ["locl"]', ["routes.r.providers[0]", "did you mean local?"]),
        ('[routes.r]\nproviders = [{ modle = "x" }]', ["routes.r.providers[0].modle", "providers[0].model?"]),
        ("[routes.r]\nproviders = [3]", ["routes.r.providers[0]", "must be text, not 3"]),
        ('[providers.a]\n[aliases]\na = "echo/x"', ["aliases.a", "line 3", "collides with providers.a"]),
        ('[routes.echo]\nproviders = ["echo"]', ["routes.echo", "collides", "'echo'"]),
        ('[aliases]\nx = "locl/tiny"\n[providers.local]', ["aliases.x", "leads nowhere", "did you mean local?"]),
        ('[aliases]\nx = "tiny"', ["aliases.x", "leads nowhere"]),
        ('[aliases]\nx = "y"\ny = "x"', ["aliases.x", "circle"]),
        ('[routes.r]\nproviders = ["echo"]\n[aliases]\nx = "r"', ["aliases.x", "r/MODEL"]),
        ('[aliases]\n"" = "echo/echo"', ["aliases", "no name"]),
        ('[[keys]]\nkey = { env = "CI_KEY" }', ["keys[0].name", "line 1", "is missing"]),
        ('[[keys]]\nname = "a"\nkey = { env = "CI_KEY" }\n[[keys]]\nname = "a"\nkey = { env = "LOCAL_KEY" }',
         ["keys[1].name", "line 5", "twice"]),
        ('[[keys]]\nname = "a"\nkey = { env = "CI_KEY" }\n[[keys]]\nname = "b"\nkey = { env = "CI_KEY" }',
         ["keys[1].key", "line 6", "same key"]),
        ('[[keys]]\nname = "a"\nkey = { env = "CI_KEY" }\nmodels = []', ["keys[0].models", "no model"]),
        ('[[keys]]\nname = " "\nkey = { env = "CI_KEY" }', ["keys[0].name", "empty"]),
        ('[keys]\nname = "a"', ["keys", "a list of tables"]),
        ("[server\nport = 1", ["penstock.toml", "not valid TOML at line 1"]),
        ("port = 1\nport = 2\n", ["penstock.toml", "not valid TOML at line 2"]),
        ("port = ", ["penstock.toml", "not valid TOML at end of document"]),
        ("a = " + 5000 * "[", ["penstock.toml", "not valid TOML"]),
        ("server.port = 2020-01-01", ["server.port", "a date or time"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key_its_place_and_what_was_expected(refused, toml, words):
    message = refused(toml)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("SERVER__PORT", "eighty", ["server.port", "a port from 1 to 65535"]),
        ("SERVER__PROT", "1", ["server.prot", "did you mean server.port?"]),
        ("SERVER_PORT", "1", ["did you mean PENSTOCK_SERVER__PORT?"]),
        ("TIMEOUTS__IDLE", "-1", ["timeouts.idle", "a number of seconds"]),
        ("TIMEOUTS__IDLE", "nan", ["timeouts.idle", "a number of seconds"]),
        ("SERVER____PORT", "1", ["no letters"]),
        ("SERVER__ALLOWED_HOSTS", "[1", ["server.allowed_hosts", "JSON array"]),
        ("PROVIDERS__X", "{1", ["JSON object"]),
        ("PROVIDERS__X__API_KEY", "sk-inline", ["providers.x.api_key", "never inline"]),
        ("PROVIDERS__X__TIMEOUTS", "fast", ["providers.x.timeouts", "a table", "not text"]),
        ("KEYS__NEW__MODELS", "a", ["keys[0].key", "is missing"]),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(refused, name, text, words):
    message = refused("", {f"PENSTOCK_{name}": text})
    for word in [f"PENSTOCK_{name}", *words]:
        assert word in message


def test_a_list_of_the_file_is_not_set_in_parts(refused):
    assert "the whole list" in refused(EXAMPLE, {**ENVIRON, "PENSTOCK_ROUTES__SAFE__PROVIDERS__0__MODEL": "x"})


def test_a_wrong_option_is_told_as_an_option(refused):
    assert "option --port" in refused("", server__port=-1)


def test_a_table_that_a_variable_replaced_is_not_blamed_on_the_file(refused):
    message = refused("[providers.x]\nparallel = 1", {"PENSTOCK_PROVIDERS__X": '{"parallel": -1}'})
    assert "PENSTOCK_PROVIDERS__X)" in message
    assert "line" not in message


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"Cannot read the configuration file .*No such file"):
        load(tmp_path / "none.toml", {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary", {})


def test_a_bom_and_crlf_are_no_obstacle(tmp_path):
    file = tmp_path / "windows.toml"
    file.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
    assert load(file, {}).server.port == 1


@pytest.mark.parametrize(
    "toml",
    [
        '[providers.x]\napi_key = "sk-very-secret-1"',
        '[providers.x]\napi_key = { env = "sk-very-secret-1" }',
        '[providers.x]\napi_key = { value = "sk-very-secret-1" }',
        '[providers.x]\nheaders = { Authorization = "sk-very-secret-1" }',
        '[providers.x]\nbase_url = "http://sk-very-secret-1@host/v1"',
        '[providers.x]\nbase_url = "sk-very-secret-1"',
        '[[keys]]\nname = "a"\nkey = "sk-very-secret-1"',
        '[server]\nport = "sk-very-secret-1"',
        '[providers.x]\nmodels = "sk-very-secret-1"',
        '[providers.x]\napi_key = { env = "SPOILT" }',
    ],
)
def test_no_error_repeats_a_secret(refused, toml):
    assert "very-secret" not in refused(toml, {"SPOILT": "sk-very-secret-1 with spaces"})


def test_an_inline_secret_is_refused_with_the_reason(refused):
    message = refused('[providers.x]\napi_key = "sk-very-secret-1"')
    assert "never inline" in message
    assert '{ env = "NAME_OF_A_VARIABLE" }' in message


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"two words", "ключ".encode()])
def test_a_key_file_without_a_usable_key_is_refused(refused, tmp_path, content):
    (tmp_path / "k").write_bytes(content)
    assert "providers.x.api_key.file" in refused('[providers.x]\napi_key = { file = "k" }')


def test_an_empty_variable_is_as_good_as_none(refused):
    assert "is empty" in refused('[providers.x]\napi_key = { env = "EMPTY" }', {"EMPTY": " "})


# What is shown


def test_show_tells_every_value_and_where_it_comes_from(read):
    text = show(read(EXAMPLE, {**ENVIRON, "PENSTOCK_TIMEOUTS__BODY": "5"}))
    assert re.search(r"^timeouts\.body = 5\.0 +# environment variable PENSTOCK_TIMEOUTS__BODY$", text, re.M)
    assert re.search(r"^server\.port = 8777 +# .*penstock\.toml, line 3$", text, re.M)
    assert re.search(r"^timeouts\.settle = 5\.0 +# default$", text, re.M)
    assert re.search(r"^providers\.backup\.timeouts\.connect", text, re.M) is None, "beaten by [timeouts]"
    assert not any(secret in text for secret in ENVIRON.values())


def test_show_tells_what_a_preset_brings_where_nothing_beats_it(read):
    text = show(read('[providers.o]\npreset = "ollama"\ntimeouts = { idle = 1 }'))
    assert re.search(r"^providers\.o\.timeouts\.connect = 15\.0 +# preset ollama$", text, re.M)
    assert re.search(r"^providers\.o\.timeouts\.idle = 1\.0 +# .*line 3$", text, re.M)
    assert re.search(r'^providers\.o\.base_url = "http://127.0.0.1:11434" +# preset ollama$', text, re.M)


def test_what_show_prints_means_the_same_when_it_is_read(read):
    first = read(EXAMPLE.replace('preset = "ollama"', 'base_url = "http://b/v1"'))
    again = read(show(first))
    assert again.shape.server == first.shape.server
    assert again.providers == first.providers
    assert again.routes == first.routes
    assert again.shape.keys == first.shape.keys


def test_header_values_are_not_shown(read):
    text = show(read('[providers.x]\nheaders = { x-team = "hush" }'))
    assert "hush" not in text
    assert 'providers.x.headers.x-team = "***"' in text


def test_a_configuration_has_no_secret_in_its_repr(read):
    assert "secret" not in repr(read(EXAMPLE)) + repr(read(EXAMPLE).keys)


def test_the_banner_has_lines_to_paste_and_whose_keys_are_there(read):
    text = banner(load(None, {"OPENAI_API_KEY": "sk-abc-very-secret"}), "http://127.0.0.1:8777")
    assert "curl -N http://127.0.0.1:8777/v1/chat/completions" in text
    assert '"model": "echo/echo"' in text
    assert 'base_url="http://127.0.0.1:8777/v1"' in text
    assert "key from OPENAI_API_KEY" in text
    assert "very-secret" not in text
    assert "DEEPSEEK_API_KEY is not set" in banner(read('[providers.d]\npreset = "deepseek"'), "http://h:1")


def test_the_banner_shows_a_model_that_its_key_may_use(read):
    text = banner(read(EXAMPLE), "http://h:1")
    assert '-H "authorization: Bearer $CI_KEY"' in text
    assert '"model": "local/tiny"' in text
    assert 'api_key=os.environ["CI_KEY"]' in text
    assert "secret" not in text


# The page


def documented_keys():
    sections = [("server", Server), ("timeouts", TimeoutTable), ("limits", Limits), ("store", StoreSettings)]
    for section, shape in sections:
        for field in msgspec.structs.fields(shape):
            yield section, field
    for shape in (ProviderSettings, KeySettings, *(plain_type(f.type)[0] for f in msgspec.structs.fields(Shape))):
        if isinstance(shape, type) and issubclass(shape, (ProviderSettings, KeySettings)):
            for field in msgspec.structs.fields(shape):
                yield "", field


PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("section", "field"), [pytest.param(s, f, id=f"{s}.{f.name}") for s, f in documented_keys()])
def test_every_key_is_documented_with_its_default_and_its_variable(section, field):
    row = re.search(rf"^\| `{field.name}`( ✱)?(<br>`(?P<variable>\w+)`)? \| (?P<default>[^|]+) \|", PAGE, re.M)
    assert row is not None, f"docs/configuration.md has no row for {field.name}"
    if section:
        assert row["variable"] == f"PENSTOCK_{section}__{field.name}".upper()
        default = getattr(DEFAULT_TIMEOUTS, field.name) if field.default is UNSET else field.default
        default = field.default_factory() if default is msgspec.NODEFAULT else default
        written = row["default"].strip("`")
        assert msgspec.json.decode(written) == default


def test_every_table_is_documented():
    for name in Shape.__struct_fields__:
        assert re.search(rf"^## `\[+{name}", PAGE, re.M)


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.S))
def test_every_example_in_the_page_is_a_configuration(read, tmp_path, block):
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    if "[routes" in block or "[[keys]]" in block:
        block += '\n[providers.local]\n[providers.openrouter]\npreset = "openrouter"\n'
    assert read(block).providers


# The store


@pytest.mark.parametrize(
    ("toml", "environ", "shown"),
    [
        ("", {}, None),
        ("", {"XDG_DATA_HOME": "/nowhere"}, None),
        ("", {"XDG_DATA_HOME": "{folder}"}, "{folder}/penstock/penstock.db"),
        ("[store]\nenabled = false", {"XDG_DATA_HOME": "{folder}"}, None),
        ("[store]\nenabled = true", {"HOME": "/home/ann", "XDG_DATA_HOME": "/data"}, "/data/penstock/penstock.db"),
        ("[store]\nurl = 'sqlite:///here.db'", {}, "{folder}/here.db"),
        ("[store]\nurl = 'postgresql://ann@db/name'", {}, "postgresql://db/name"),
        ("[store]\nurl = {env = 'DB'}", {"DB": "postgresql://ann:secret-word@db/name"}, "postgresql://db/name"),
        ("[store]\nurl = {file = 'url'}", {}, "postgresql://db/file"),
        ("", {"PENSTOCK_STORE__URL": "postgresql://db/name"}, "postgresql://db/name"),
        ("", {"PENSTOCK_STORE__URL__ENV": "DB", "DB": "postgresql://a:secret-word@db/n"}, "postgresql://db/n"),
    ],
)
def test_there_is_a_store_if_one_is_named_or_its_default_file_is_there(read, tmp_path, toml, environ, shown):
    (tmp_path / "penstock").mkdir()
    (tmp_path / "penstock" / "penstock.db").touch()
    (tmp_path / "url").write_text("postgresql://ann:secret-word@db/file\n")
    config = read(toml, {name: value.format(folder=tmp_path) for name, value in environ.items()})
    location = config.store_location
    assert (None if location is None else location.shown) == (shown and shown.format(folder=tmp_path))
    assert "secret-word" not in show(config)
    assert ("store.on_failure" in show(config)) == (location is not None)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("url = 'postgresql://ann:secret-word@db/n'", "must not have a password in it"),
        ("url = 'postgresql://db:x/n'", "must be an address like"),
        ("url = {env = 'DB'}", "environment variable DB, which is not set"),
        ("url = 'penstock.db'", "must be an address like"),
        ("url = ''", "has no default here, since HOME is not set"),
        ("on_failure = 'ignore'", 'must be "refuse" or "continue"'),
        ("usage_days = -1", "must be a whole number"),
    ],
)
def test_what_is_no_store_is_told(refused, toml, words):
    message = refused(f"[store]\n{toml}", {})
    assert message.startswith("store.")
    assert words in message
    assert "secret-word" not in message
