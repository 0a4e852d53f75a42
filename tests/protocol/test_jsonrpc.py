"""JSON-RPC as a whole: the examples of the specification's section 7, and a conversation over each framing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import feeding
from penstock.protocol import jsonrpc, ndjson
from penstock.protocol.jsonrpc import (
    METHOD_NOT_FOUND,
    Connection,
    ContentLengthDecoder,
    Invalid,
    Notification,
    Request,
    Success,
)


def subtract(params: Any) -> Any:
    if isinstance(params, dict):
        return params["minuend"] - params["subtrahend"]
    return params[0] - params[1]


METHODS: dict[str, Callable[[Any], Any]] = {
    "subtract": subtract,
    "sum": sum,
    "get_data": lambda params: ["hello", 5],
}


def serve(connection: Connection, message: bytes | str) -> list[bytes]:
    """What a server with the examples' methods says to `message`."""
    for item in connection.receive(message):
        if isinstance(item, Request):
            if method := METHODS.get(item.method):
                connection.reply(item.id, method(item.params))
            else:
                connection.fail(item.id, METHOD_NOT_FOUND, "Method not found")
    return connection.data_to_send()


INVALID = '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}'
PARSE = '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}'

# jsonrpc.org/specification, section 7: what is said, and what is answered.
EXAMPLES: dict[str, tuple[str, str | None]] = {
    "positional parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        '{"jsonrpc": "2.0", "result": 19, "id": 1}',
    ),
    "positional parameters, the other way": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        '{"jsonrpc": "2.0", "result": -19, "id": 2}',
    ),
    "named parameters": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
        '{"jsonrpc": "2.0", "result": 19, "id": 3}',
    ),
    "named parameters, the other way": (
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
        '{"jsonrpc": "2.0", "result": 19, "id": 4}',
    ),
    "a notification": ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
    "a notification without parameters": ('{"jsonrpc": "2.0", "method": "foobar"}', None),
    "non-existent method": (
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
    ),
    "invalid JSON": ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', PARSE),
    "invalid Request object": ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', INVALID),
    "batch, invalid JSON": (
        '[\n {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},\n {"jsonrpc": "2.0", "method"\n]',
        PARSE,
    ),
    "an empty Array": ("[]", INVALID),
    "an invalid Batch (but not empty)": ("[1]", f"[{INVALID}]"),
    "invalid Batch": ("[1,2,3]", f"[{INVALID}, {INVALID}, {INVALID}]"),
    "Batch": (
        """[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
        {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
        {"foo": "boo"},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]""",
        """[
        {"jsonrpc": "2.0", "result": 7, "id": "1"},
        {"jsonrpc": "2.0", "result": 19, "id": "2"},
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
        {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
        {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
        ]""",
    ),
    "Batch (all notifications)": (
        """[
        {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
        {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
        ]""",
        None,
    ),
}


@pytest.mark.parametrize("made", [str, str.encode], ids=["str", "bytes"])
@pytest.mark.parametrize(("said", "answer"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_specification(said: str, answer: str | None, made: Callable[[str], Any]) -> None:
    answers = serve(Connection(), made(said))
    assert [json.loads(one) for one in answers] == ([] if answer is None else [json.loads(answer)])


def test_there_are_as_many_examples_as_in_the_text() -> None:
    assert len(EXAMPLES) == 15


def test_a_conversation_over_ndjson_as_mcps_stdio_has_it() -> None:
    client, server = Connection(), Connection()
    id = client.request("sum", {"text": "two\nlines\r\n\u2028"})
    client.notify("initialized")
    sent = b"".join(message + b"\n" for message in client.data_to_send())
    lines = feeding.same_for_every_cut(ndjson.Lines, sent).results
    found = [item for line in lines for item in server.receive(line)]
    assert found == [Request("sum", {"text": "two\nlines\r\n\u2028"}, id), Notification("initialized")]


def test_a_conversation_over_content_length_as_lsp_has_it() -> None:
    client, server = Connection(), Connection()
    first, second = client.request("sum", [1, 2]), client.request("subtract", [3, 1])
    sent = b"".join(map(jsonrpc.encode_content_length, client.data_to_send()))
    bodies = feeding.same_for_every_cut(ContentLengthDecoder, sent).results
    answers = [answer for body in bodies for answer in serve(server, body)]
    sent = b"".join(map(jsonrpc.encode_content_length, answers))
    bodies = feeding.same_for_every_cut(ContentLengthDecoder, sent).results
    assert [item for body in bodies for item in client.receive(body)] == [Success(3, first), Success(2, second)]


def test_two_connections_never_answer_each_others_errors_for_ever() -> None:
    left, right = Connection(), Connection()
    messages = [b"{", b"1", b"[]", b'[{"id":1}]', b'{"error":1,"id":null}', b'{"result":1,"id":7,"jsonrpc":"2.0"}']
    for message in messages:
        assert isinstance(left.receive(message)[0], Invalid)
        for answer in left.data_to_send():
            right.receive(answer)
        assert right.data_to_send() == []


def test_the_front_names_what_it_exports() -> None:
    assert sorted(set(jsonrpc.__all__)) == sorted(jsonrpc.__all__)
    for name in jsonrpc.__all__:
        assert hasattr(jsonrpc, name)
