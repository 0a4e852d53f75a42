"""The OpenAPI document: complete, valid, made of the routes, and shown without a script."""

import json
import re
from html.parser import HTMLParser

import pytest
from jsonschema import Draft202012Validator

from penstock.server.openapi.document import document, shown_path
from penstock.server.openapi.operations import GROUPS, OPERATIONS
from penstock.server.openapi.page import POLICY, example, page
from penstock.server.openapi.requests import REQUESTS
from penstock.server.routes import BELOW, ROUTES
from rig import Rig
from scripted import Upstream

ALL = {**ROUTES, **BELOW}
KEYS = '[[keys]]\nname = "ci"\nkey = { env = "CI" }\n'


def operations(told):
    return [(method, path, one) for path, methods in told["paths"].items() for method, one in methods.items()]


def references(value):
    if isinstance(value, dict):
        yield from [value["$ref"]] if "$ref" in value else []
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.fixture(params=[True, False], ids=["with keys", "without"])
def told(request):
    return document(ALL, keys=request.param)


def test_every_route_is_described_and_nothing_else():
    routes = {(method, path) for path, route in ALL.items() for method in route.methods}
    assert set(OPERATIONS) == routes


def test_what_is_below_a_route_is_described_with_its_id():
    for (_, route), described in OPERATIONS.items():
        for operation in described:
            named = set(re.findall(r"{(\w+)}", operation.path))
            assert bool(named) == (route in BELOW)
            assert named == {one["name"] for one in operation.parameters if one["in"] == "path"}
            assert operation.path.startswith(route) or not operation.path


def test_references_lead_somewhere_and_nothing_is_left_over(told):
    found = set(references(told))
    sections = told["components"]
    there = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in sections[kind]}
    assert found == there


def test_operations_have_an_id_of_their_own_and_a_group_that_is_explained(told):
    ids = [one["operationId"] for _, _, one in operations(told)]
    assert len(set(ids)) == len(ids)
    assert {tag for _, _, one in operations(told) for tag in one["tags"]} == set(GROUPS)
    assert all(one["summary"] for _, _, one in operations(told))


def test_shapes_are_json_schema(told):
    for shape in told["components"]["schemas"].values():
        Draft202012Validator.check_schema(shape)


def test_whether_a_key_is_needed_is_as_the_routes_have_it():
    with_keys, without = document(ALL, keys=True), document(ALL, keys=False)
    assert (without["security"], "securitySchemes" in without["components"]) == ([], False)
    assert {name for one in with_keys["security"] for name in one} == {"bearer", "api-key", "x-api-key"}
    open_paths = {path for _, path, one in operations(with_keys) if one.get("security") == []}
    assert open_paths == {shown_path(path) for path, route in ALL.items() if route.public}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/models/", "/v1/models/"),
        ("/chat/ws", "/v1/chat/ws"),
        ("/docs", "/docs"),
        ("/", "/"),
        ("/ws", "/ws"),
        ("/api/tags", "/api/tags"),
    ],
)
def test_paths_are_as_clients_write_them(path, shown):
    assert shown_path(path) == shown


EXAMPLES = {name: shown for name, shape in REQUESTS.items() if (shown := example(shape)) is not None}


def of_shape(name):
    told = document(ALL, keys=False)
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": told["components"]})


def test_there_are_examples():
    assert {"ChatRequest", "ResponseRequest", "AnthropicRequest", "OllamaChatRequest", "PromptRequest"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_examples_are_of_their_own_shape_and_get_an_answer_of_the_shape_that_is_promised(nursery, name):
    of_shape(name).validate(EXAMPLES[name])
    rig = Rig(nursery, toml='[aliases]\ndefault = "echo/echo"\nomni-moderation-latest = "echo/echo"\n')
    for _, path, one in operations(document(ALL, keys=False)):
        body = one.get("requestBody", {}).get("content", {}).get("application/json")
        if body != {"schema": {"$ref": f"#/components/schemas/{name}"}}:
            continue
        client = rig.connect()
        await client.request("POST", path, {}, json.dumps({**EXAMPLES[name], "stream": False}).encode())
        answer = await client.answer()
        if answer.status == 404:
            assert answer.error["code"] == "unsupported_endpoint"  # there are things that the echo does not do
        else:
            assert answer.status == 200, answer.body
            promised = one["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            of_shape(promised.rpartition("/")[2]).validate(answer.json)
        client.leave()
    rig.gateway.catalog.providers["echo"].transport.close()


async def ask(rig, target):
    client = rig.connect()
    await client.request("GET", target)
    return await client.answer()


async def test_the_document_is_that_of_the_gateway(nursery, autojump_clock):
    for toml in ("", KEYS):
        rig = Rig(nursery, Upstream(nursery), toml, {"CI": "secret"})
        answer = await ask(rig, "/openapi.json")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json == document(ALL, keys=bool(toml))
        assert answer.json["openapi"] == "3.1.0"


# -- the page ---------------------------------------------------------------------------------------------

VOID = {"meta", "br"}


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.text = [], set(), [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        known = dict(attrs)
        assert not any(name.startswith("on") or name in ("src", "style") for name in known)
        self.ids += [known["id"]] if "id" in known else []
        self.links += [known["href"]] if "href" in known else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_has_all_of_it_and_loads_nothing(told):
    reader = read(page(told))
    assert not reader.tags & {"script", "img", "link", "iframe", "form", "object"}
    text = set(reader.text)
    assert set(told["paths"]) <= text
    assert set(told["components"]["schemas"]) <= text
    assert len(set(reader.ids)) == len(reader.ids)
    assert {link.removeprefix("#") for link in reader.links} <= {*reader.ids, "openapi.json"}


def test_the_page_is_light_or_dark():
    html = page(document(ALL, keys=True))
    assert "color-scheme: light dark" in html
    assert "prefers-color-scheme: dark" in html


def test_what_is_in_the_document_cannot_become_markup():
    told = document(ALL, keys=True)
    told["info"]["title"] = "<script>alert(1)</script>"
    told["paths"]["/<b>"] = {"get": {**told["paths"]["/health"]["get"], "summary": '"><img src=x>'}}
    reader = read(page(told))
    assert not reader.tags & {"script", "img", "b"}


async def test_the_browser_is_told_to_run_and_fetch_nothing(nursery, autojump_clock):
    answer = await ask(Rig(nursery, Upstream(nursery)), "/docs")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == POLICY
    assert "default-src 'none'" in POLICY
    assert "script-src" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
