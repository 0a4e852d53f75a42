"""The connection: each request of the peer is answered once, each answer of the peer is matched, all is bounded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.protocol.errors import LocalProtocolError
from penstock.protocol.jsonrpc import (
    INVALID_REQUEST,
    OVERLOADED,
    PARSE_ERROR,
    REQUEST_CANCELLED,
    Cancel,
    Connection,
    Failure,
    Invalid,
    Notification,
    Progress,
    Request,
    Success,
    decode,
    encode,
    recognise,
)

NO_ID = "no id"


def call(id: Any = NO_ID, method: str = "m", **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method} | ({} if id == NO_ID else {"id": id}) | more


def result(id: Any, value: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": value, "id": id}


def error(id: Any, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": id}


INVALID = error(None, INVALID_REQUEST, "Invalid Request")


def said(connection: Connection) -> list[Any]:
    """What the connection has for the peer, as JSON."""
    return [json.loads(message) for message in connection.data_to_send()]


def hear(connection: Connection, value: Any) -> list[Any]:
    return connection.receive(json.dumps(value))


# --- asked by the peer ---


@pytest.mark.parametrize("id", [1, "1", 1.5, 1.0, None, 0, "", -7, 10**30], ids=repr)
def test_a_request_is_answered_with_its_own_id(id: Any) -> None:
    connection = Connection()
    assert hear(connection, call(id)) == [Request("m", None, id)]
    assert connection.unanswered == [id]
    assert said(connection) == []
    connection.reply(id, "yes")
    assert repr(said(connection)) == repr([result(id, "yes")])
    hear(connection, call(id))
    connection.fail(id, -32000, "no", {"why": 1})
    assert said(connection) == [
        {"jsonrpc": "2.0", "error": {"code": -32000, "message": "no", "data": {"why": 1}}, "id": id}
    ]
    assert connection.unanswered == []


def test_a_result_that_is_json_already_is_taken_as_it_is() -> None:
    connection = Connection()
    hear(connection, call(id="a\u2028"))
    connection.reply_json("a\u2028", b'{"exact":1.10e2, "large":12345678901234567890}')
    (message,) = connection.data_to_send()
    assert b'"result":{"exact":1.10e2, "large":12345678901234567890}' in message
    assert decode(message) == Success({"exact": 110.0, "large": 12345678901234567890}, "a\u2028")
    assert connection.unanswered == []
    with pytest.raises(LocalProtocolError):
        connection.reply_json("a\u2028", b"1")


def test_a_result_that_is_json_already_in_a_batch() -> None:
    connection = Connection()
    hear(connection, [call(id=1), call(id=2)])
    connection.reply_json(2, b"[]")
    assert said(connection) == []
    connection.reply_json(1, b"null")
    assert said(connection) == [[result(1, None), result(2, [])]]


def test_an_id_is_repeated_as_the_peer_wrote_it() -> None:
    connection = Connection()
    connection.receive('{"jsonrpc":"2.0","method":"m","id":1.0}')
    connection.reply(1, None)
    assert connection.data_to_send() == [b'{"jsonrpc":"2.0","result":null,"id":1.0}']


def test_a_notification_is_never_answered() -> None:
    connection = Connection()
    assert hear(connection, call(method="unknown", params=[1])) == [Notification("unknown", [1])]
    assert connection.unanswered == []
    with pytest.raises(LocalProtocolError):
        connection.reply(None, 1)
    assert said(connection) == []


def test_answers_go_out_in_the_order_in_which_they_are_given() -> None:
    connection = Connection()
    for id in (1, 2, "1"):
        hear(connection, call(id))
    connection.notify("chunk", {"requestId": 2})
    for id in (2, "1", 1):
        connection.reply(id, 1)
    assert said(connection) == [call(method="chunk", params={"requestId": 2}), result(2), result("1"), result(1)]


@pytest.mark.parametrize("id", [2, "1", True, None, [], {}, 1.5, float("nan")], ids=repr)
def test_only_a_request_in_flight_can_be_answered(id: Any) -> None:
    connection = Connection()
    hear(connection, call(1))
    with pytest.raises(LocalProtocolError, match="waits for an answer"):
        connection.reply(id, 1)
    with pytest.raises(LocalProtocolError, match="waits for an answer"):
        connection.fail(id, 1, "no")
    connection.reply(1, 1)
    with pytest.raises(LocalProtocolError, match="waits for an answer"):
        connection.reply(1, 1)
    assert said(connection) == [result(1)]


def test_an_answer_that_cannot_be_sent_leaves_the_request_to_be_answered() -> None:
    connection = Connection()
    hear(connection, call(1))
    with pytest.raises(LocalProtocolError):
        connection.reply(1, float("nan"))
    with pytest.raises(LocalProtocolError):
        connection.fail(1, 5, "\ud800")
    assert connection.unanswered == [1]
    connection.fail(1, -32603, "Internal error")
    assert said(connection) == [error(1, -32603, "Internal error")]


BROKEN: dict[str, tuple[bytes | str, int, Any]] = {
    "no JSON": (b"{", PARSE_ERROR, None),
    "invalid UTF-8": (b'{"\xff":1}', PARSE_ERROR, None),
    "half a pair in a str": ('"\ud800"', PARSE_ERROR, None),
    "too deep": (b"[" * 200 + b"]" * 200, PARSE_ERROR, None),
    "an empty batch": (b"[]", INVALID_REQUEST, None),
    "no request": (b"{}", INVALID_REQUEST, None),
    "a readable id": (b'{"id":"7","method":"m"}', INVALID_REQUEST, "7"),
    "a fractional id": (b'{"id":1.5,"method":"m"}', INVALID_REQUEST, 1.5),
    "id true": (b'{"jsonrpc":"2.0","method":"m","id":true}', INVALID_REQUEST, None),
    "params null": (b'{"jsonrpc":"2.0","method":"m","id":3,"params":null}', INVALID_REQUEST, 3),
    "params null without id": (b'{"jsonrpc":"2.0","method":"m","params":null}', INVALID_REQUEST, None),
}


@pytest.mark.parametrize(("message", "code", "id"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_request_is_answered_at_once(message: bytes | str, code: int, id: Any) -> None:
    connection = Connection()
    text = "Parse error" if code == PARSE_ERROR else "Invalid Request"
    assert connection.receive(message) == [Invalid(code, text, id)]
    assert said(connection) == [error(id, code, text)]
    assert connection.unanswered == []


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 1.0), ("a", "a"), (None, None), (0, -0.0)])
def test_an_id_in_flight_cannot_be_used_again(first: Any, second: Any) -> None:
    connection = Connection()
    hear(connection, call(first))
    assert hear(connection, call(second)) == [Invalid(INVALID_REQUEST, "Invalid Request", second)]
    assert said(connection) == [error(second, INVALID_REQUEST, "Invalid Request")]
    connection.reply(first, 1)
    assert said(connection) == [result(first)]
    assert hear(connection, call(second)) == [Request("m", None, second)]


@pytest.mark.parametrize(("first", "second"), [(1, "1"), (None, "null"), (None, 0), (0, ""), (1, 1.5), ("a", "A")])
def test_ids_of_other_types_are_other_ids(first: Any, second: Any) -> None:
    connection = Connection()
    assert hear(connection, call(first)) + hear(connection, call(second)) == [
        Request("m", None, first),
        Request("m", None, second),
    ]


def test_requests_in_flight_are_bounded() -> None:
    connection = Connection(max_in_flight=2)
    for id in (1, 2):
        hear(connection, call(id))
    assert hear(connection, call(3)) == [Invalid(OVERLOADED, "Too many requests in flight", 3)]
    assert hear(connection, call(2)) == [Invalid(INVALID_REQUEST, "Invalid Request", 2)]
    assert hear(connection, call()) == [Notification("m")]
    assert [one["error"]["code"] for one in said(connection)] == [OVERLOADED, INVALID_REQUEST]
    connection.reply(1, 1)
    assert hear(connection, call(3)) == [Request("m", None, 3)]


def test_the_default_bound_is_1024() -> None:
    connection = Connection()
    for id in range(1024):
        connection.request("m")
        assert hear(connection, call(id)) == [Request("m", None, id)]
    assert hear(connection, call("one more")) == [Invalid(OVERLOADED, "Too many requests in flight", "one more")]
    with pytest.raises(LocalProtocolError, match="too many"):
        connection.request("m")


# --- batches ---


def test_a_batch_is_answered_when_its_last_request_is_and_in_its_own_order() -> None:
    connection = Connection()
    found = hear(connection, [call(1), call(), 5, call("1"), [call(9)], call(1)])
    broken = Invalid(INVALID_REQUEST, "Invalid Request", None)
    assert found == [
        Request("m", None, 1),
        Notification("m"),
        broken,
        Request("m", None, "1"),
        broken,
        Invalid(INVALID_REQUEST, "Invalid Request", 1),
    ]
    connection.reply("1", "b")
    assert said(connection) == []
    connection.reply(1, "a")
    repeated = error(1, INVALID_REQUEST, "Invalid Request")
    assert said(connection) == [[result(1, "a"), INVALID, result("1", "b"), INVALID, repeated]]


def test_two_batches_do_not_mix_with_each_other_or_with_single_requests() -> None:
    connection = Connection()
    hear(connection, [call(1), call(2)])
    hear(connection, call(3))
    hear(connection, [call(4), call(5)])
    for id in (1, 4, 3, 5):
        connection.reply(id, id)
    assert said(connection) == [result(3, 3), [result(4, 4), result(5, 5)]]
    connection.fail(2, 7, "no")
    assert said(connection) == [[result(1, 1), error(2, 7, "no")]]


BATCHES: dict[str, tuple[list[Any], list[Any]]] = {
    "only notifications": ([call(), call()], []),
    "only responses": ([result(1), error(None, 1, "no")], []),
    "only broken elements": ([1, []], [[INVALID, INVALID]]),
    "a notification and a broken element": ([call(), {}], [[INVALID]]),
    "a broken response": ([{"result": 1, "id": 1}], []),
}


@pytest.mark.parametrize(("batch", "answers"), BATCHES.values(), ids=BATCHES)
def test_a_batch_without_requests_is_answered_at_once_or_not_at_all(batch: list[Any], answers: list[Any]) -> None:
    connection = Connection()
    hear(connection, batch)
    assert said(connection) == answers


def test_the_bound_holds_within_a_batch_and_the_batch_has_its_own() -> None:
    connection = Connection(max_in_flight=1, max_batch=3)
    found = hear(connection, [call(1), call(2)])
    assert found == [Request("m", None, 1), Invalid(OVERLOADED, "Too many requests in flight", 2)]
    connection.reply(1, 1)
    assert said(connection) == [[result(1), error(2, OVERLOADED, "Too many requests in flight")]]
    assert hear(connection, [1, 1, 1, 1]) == [Invalid(INVALID_REQUEST, "Invalid Request", None)]
    assert said(connection) == [INVALID]


def test_depth_has_a_bound() -> None:
    connection = Connection(max_depth=3)
    assert hear(connection, call(1, params=[[]])) == [Request("m", [[]], 1)]
    assert hear(connection, call(2, params=[[[]]])) == [Invalid(PARSE_ERROR, "Parse error", None)]


# --- asked by us ---


def test_requests_have_ids_of_their_own_and_answers_find_them() -> None:
    connection = Connection()
    first, second = connection.request("a", [1]), connection.request("b", {"x": None})
    connection.notify("c")
    assert first != second
    assert said(connection) == [call(first, "a", params=[1]), call(second, "b", params={"x": None}), call(method="c")]
    assert said(connection) == []
    assert connection.waiting == [first, second]
    assert hear(connection, error(second, 5, "no")) == [Failure(5, "no", None, second)]
    assert hear(connection, result(first, None)) == [Success(None, first)]
    assert connection.waiting == []
    assert said(connection) == []


def test_the_peers_ids_are_not_ours() -> None:
    connection = Connection()
    id = connection.request("a")
    assert hear(connection, call(id)) == [Request("m", None, id)]
    assert hear(connection, result(id)) == [Success(1, id)]
    assert connection.unanswered == [id]


UNASKED: dict[str, Callable[[int], Any]] = {
    "another id": lambda id: result(id + 1),
    "another type": lambda id: result(str(id)),
    "null": lambda id: result(None),
    "an error": lambda id: error(id + 1, 1, "no"),
}


@pytest.mark.parametrize("response", UNASKED.values(), ids=UNASKED)
def test_a_response_that_nobody_asked_for_is_invalid_and_not_answered(response: Callable[[int], Any]) -> None:
    connection = Connection()
    id = connection.request("a")
    connection.data_to_send()
    said_by_peer = response(id)
    [found] = hear(connection, said_by_peer)
    assert found == Invalid(INVALID_REQUEST, "Invalid Request", said_by_peer["id"])
    assert found.response
    assert said(connection) == []
    assert connection.waiting == [id]


def test_a_second_answer_is_one_that_nobody_asked_for() -> None:
    connection = Connection()
    id = connection.request("a")
    hear(connection, result(id))
    assert hear(connection, result(id)) == [Invalid(INVALID_REQUEST, "Invalid Request", id)]


def test_an_error_of_id_null_is_the_peers_complaint_and_comes_out() -> None:
    connection = Connection()
    assert hear(connection, error(None, PARSE_ERROR, "Parse error")) == [Failure(PARSE_ERROR, "Parse error")]
    assert said(connection) == []


def test_a_broken_answer_settles_the_request_and_is_not_answered() -> None:
    connection = Connection()
    id = connection.request("a")
    connection.data_to_send()
    [found] = hear(connection, {"result": 1, "error": None, "id": id})
    assert found == Invalid(INVALID_REQUEST, "Invalid Request", id)
    assert found.response
    assert connection.waiting == []
    assert said(connection) == []


def test_a_broken_request_settles_nothing() -> None:
    connection = Connection()
    id = connection.request("a")
    hear(connection, {"jsonrpc": "2.0", "method": 5, "id": id})
    assert connection.waiting == [id]


def test_our_requests_in_flight_are_bounded() -> None:
    connection = Connection(max_in_flight=2)
    first = connection.request("m")
    connection.request("m")
    with pytest.raises(LocalProtocolError, match="too many requests in flight"):
        connection.request("m")
    connection.notify("m")
    hear(connection, result(first))
    connection.request("m")
    assert len(said(connection)) == 4


@pytest.mark.parametrize("bad", [("m", 1), ("m", "x"), (1, None), ("m", ["\ud800"]), ("m", [float("nan")])], ids=repr)
def test_what_cannot_be_sent_is_not_asked(bad: Any) -> None:
    connection = Connection()
    with pytest.raises(LocalProtocolError):
        connection.request(*bad)
    with pytest.raises(LocalProtocolError):
        connection.notify(*bad)
    assert (said(connection), connection.waiting) == ([], [])


def test_reserved_method_names() -> None:
    connection = Connection(extensions=["rpc.discover"])
    for method in ("rpc.", "rpc.other"):
        with pytest.raises(LocalProtocolError, match="reserved"):
            connection.request(method)
        with pytest.raises(LocalProtocolError, match="reserved"):
            connection.notify(method)
    assert connection.waiting == []
    connection.request("rpc.discover")
    connection.notify("rpcs")
    connection.notify("RPC.x")
    assert [one["method"] for one in said(connection)] == ["rpc.discover", "rpcs", "RPC.x"]
    assert hear(connection, call(1, "rpc.other")) == [Request("rpc.other", None, 1)]


# --- cancellation and progress ---


def test_lsp_a_cancelled_request_is_still_answered() -> None:
    client, server = Connection(), Connection()
    id = client.request("long")
    assert client.cancel(id)
    assert not client.cancel(id)
    asked, cancelled = (server.receive(message) for message in client.data_to_send())
    assert asked == [Request("long", None, id)]
    assert recognise(cancelled[0]) == Cancel(id, "lsp")  # type: ignore[arg-type]
    assert client.waiting == server.unanswered == [id]
    server.fail(id, REQUEST_CANCELLED, "Request cancelled", {"partial": 1})
    [answer] = server.data_to_send()
    assert client.receive(answer) == [Failure(REQUEST_CANCELLED, "Request cancelled", {"partial": 1}, id)]
    assert not client.cancel(id)
    assert client.data_to_send() == []


def test_mcp_a_cancelled_request_is_not_answered() -> None:
    client, server = Connection(), Connection()
    id = client.request("long")
    assert client.cancel(id, "mcp", "the user left")
    asked, cancelled = (server.receive(message) for message in client.data_to_send())
    assert asked == [Request("long", None, id)]
    assert recognise(cancelled[0]) == Cancel(id, "mcp", "the user left")  # type: ignore[arg-type]
    assert server.abandon(id)
    assert not server.abandon(id)
    assert client.waiting == server.unanswered == []
    assert server.data_to_send() == []
    with pytest.raises(LocalProtocolError):
        server.reply(id, 1)
    [crossed] = client.receive(encode(Success(1, id)))
    assert isinstance(crossed, Invalid)
    assert crossed.response
    assert client.data_to_send() == []


@pytest.mark.parametrize("id", [2, "1", [], True], ids=repr)
def test_what_is_not_in_flight_cannot_be_abandoned(id: Any) -> None:
    connection = Connection()
    hear(connection, call(1))
    assert not connection.abandon(id)
    assert connection.unanswered == [1]


def test_a_batch_goes_on_without_its_abandoned_requests() -> None:
    connection = Connection()
    hear(connection, [call(1), call(2)])
    connection.reply(2, 2)
    connection.abandon(1)
    assert said(connection) == [[result(2, 2)]]
    hear(connection, [call(1), call(2)])
    connection.abandon(1)
    connection.abandon(2)
    assert said(connection) == []


def test_a_cancellation_that_cannot_be_said_changes_nothing() -> None:
    connection = Connection()
    id = connection.request("m")
    connection.data_to_send()
    for wrong in ((True, "lsp", None), (id, "lsp", "a reason"), (id, "mcp", "\ud800"), (id, "other", None)):
        with pytest.raises(LocalProtocolError):
            connection.cancel(*wrong)  # type: ignore[arg-type]
    assert connection.waiting == [id]
    assert not connection.cancel("unknown")
    assert said(connection) == []


def test_progress_in_both_manners() -> None:
    connection = Connection()
    connection.progress("t", {"kind": "begin"})
    connection.progress(5, {"progress": 1, "total": 2}, "mcp")
    found = [recognise(decode(message)) for message in connection.data_to_send()]  # type: ignore[arg-type]
    assert found == [Progress("t", {"kind": "begin"}), Progress(5, {"progress": 1, "total": 2}, "mcp")]


# --- laws ---

ids = st.sampled_from([1, 1.0, "1", None, 2, True, "\ud800", [], NO_ID])
elements = st.one_of(
    st.builds(call, ids),
    st.builds(result, ids.filter(lambda id: id != NO_ID)),
    st.builds(error, ids.filter(lambda id: id != NO_ID), st.just(1), st.just("no")),
    st.sampled_from([1, {}, [], {"id": 1}, {"error": 1}]),
)


@settings(max_examples=200)
@given(st.lists(elements | st.lists(elements, max_size=4), max_size=8), st.randoms(use_true_random=False))
def test_each_request_is_answered_once_and_a_response_never(messages: list[Any], dice: Any) -> None:
    connection = Connection(max_in_flight=3)
    answers: list[Any] = []
    owed = 0
    for message in messages:
        found = hear(connection, message)
        owed += sum(isinstance(item, Request) or (isinstance(item, Invalid) and not item.response) for item in found)
        for id in connection.unanswered:
            if dice.random() < 0.5:
                connection.reply(id, 1)
        answers += said(connection)
        assert len(connection.unanswered) <= 3
    for id in connection.unanswered:
        connection.fail(id, 1, "the end")
    answers += said(connection)
    assert sum(len(answer) if isinstance(answer, list) else 1 for answer in answers) == owed
    assert [] not in answers


@given(st.binary() | st.text(st.characters(exclude_categories=())))
def test_receive_never_raises_for_what_a_peer_sent(message: bytes | str) -> None:
    connection = Connection()
    assert connection.receive(message)
    for answer in connection.data_to_send():
        decode(answer)
