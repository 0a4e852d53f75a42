"""The OpenAPI document is true: requests made up by its rules, and against them, get the answers it promises.

A real gateway with the echo behind it, and schemathesis as the client that believes the document and tries to break
it. Where a request names a model it is the echo's, so that most requests get past the door.
"""

import copy

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from gateway import Gateway
from penstock.server.openapi.document import document
from penstock.server.routes import BELOW, ROUTES

TOML = """
[store]
url = "sqlite:///{folder}/store.db"
[[keys]]
name = "tests"
key = {{ env = "TESTS_KEY" }}
admin = true
[aliases]
default = "echo/echo"
[timeouts]
first_event = 5
"""
KEY = {"authorization": "Bearer sk-tests"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    toml = TOML.format(folder=tmp_path_factory.mktemp("store"))
    with Gateway(toml, env={"TESTS_KEY": "sk-tests"}) as gateway:
        yield gateway
    assert "bug while serving" not in gateway.output
    assert gateway.exit_code == 0


@pytest.fixture(scope="module")
def api(served):
    told = copy.deepcopy(requests.get(f"{served.url}/openapi.json", timeout=10).json())
    for shape in told["components"]["schemas"].values():
        model = shape.get("properties", {}).get("model", {})
        if "minLength" in model:
            model["enum"] = ["echo", "echo/echo"]
    schema = schemathesis.openapi.from_dict(told)
    schema.config.update(base_url=served.url)
    return schema


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
]
CASES = [
    (method, path, mode)
    for path, methods in document({**ROUTES, **BELOW}, keys=True)["paths"].items()
    for method, operation in methods.items()
    for mode in GenerationMode
    if not path.endswith("/ws")  # there HTTP ends
    if mode is GenerationMode.POSITIVE or operation.keys() & {"parameters", "requestBody"}  # what could be wrong
]


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_what_is_promised_is_what_comes(api, method, path, mode):
    operation = api[path][method]

    @settings(
        max_examples=8,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def check(case):
        case.call_and_validate(headers=KEY, checks=CHECKS, timeout=20)

    check()
