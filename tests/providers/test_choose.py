"""The choice between the transports, and what is said about a file of authorities that does not serve."""

import subprocess
import sys

import pytest
import trustme
from msgspec import UNSET

from penstock.providers.choose import choose_transport
from penstock.providers.direct import DirectTransport
from penstock.providers.httpx_transport import HttpxTransport
from penstock.providers.settings import ProviderSettings

ORIGIN = "https://api.openai.com"
PROXIED = {"HTTPS_PROXY": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("setting", "environ", "made"),
    [
        ("auto", {}, DirectTransport),
        ("auto", PROXIED, HttpxTransport),
        ("auto", {**PROXIED, "NO_PROXY": "openai.com"}, DirectTransport),
        ("direct", PROXIED, DirectTransport),
        ("httpx", {}, HttpxTransport),
    ],
)
def test_setting_and_environment(setting, environ, made):
    assert type(choose_transport(ORIGIN, ProviderSettings(transport=setting), environ)) is made


@pytest.mark.parametrize("setting", ["direct", "httpx"])
def test_a_private_authority(tmp_path, setting):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    choose_transport(ORIGIN, ProviderSettings(transport=setting, ca_file=str(tmp_path / "ca.pem")), {})


@pytest.mark.parametrize(("content", "reason"), [(UNSET, "No such file"), ("no PEM", "holds no certificate")])
def test_a_file_that_does_not_serve(tmp_path, content, reason):
    path = tmp_path / "ca.pem"
    if content is not UNSET:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"ca_file '.*' cannot be used: .*{reason}"):
        choose_transport(ORIGIN, ProviderSettings(ca_file=str(path)), {})


def test_httpx_is_not_imported_before_it_is_used():
    code = (
        "import sys\n"
        "from penstock.providers.choose import choose_transport\n"
        "from penstock.providers.settings import ProviderSettings\n"
        "choose_transport('https://a.test', ProviderSettings(transport='httpx'), {})\n"
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
