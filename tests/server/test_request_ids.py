"""Request ids: one on every answer, another from the upstream, and the client's own in the log."""

import logging

import pytest
from trio.testing import wait_all_tasks_blocked

from answers import DONE, finish, role, stream, text
from door import ANSWER, PATH
from penstock.protocol.head import check
from penstock.server.http import MAX_CLIENT_ID, Request
from rig import Rig
from scripted import Upstream

STREAM = stream(role(), text("Hello"), finish(), DONE)


async def ask(rig, *args, **kwargs):
    client = rig.connect()
    await client.request(*args, **kwargs)
    return await client.answer()


async def test_every_answer_has_a_request_id_of_its_own(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, STREAM, always=ANSWER))
    answers = [
        await ask(rig, "GET", "/health"),
        await ask(rig, "OPTIONS", "/health"),
        await ask(rig, "GET", "/nothing"),
        await ask(rig, "POST", PATH, body=b"{"),
        await ask(rig, "GET", "/health", {"host": "evil.example"}),
        await rig.ask(stream=True),
        await rig.ask(),
    ]
    client = rig.connect()
    await client.raw(b"nonsense\r\n\r\n")
    client.expect()
    answers.append(await client.answer())
    assert [answer.status for answer in answers] == [200, 204, 404, 400, 403, 200, 200, 400]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    assert all(id.startswith("req_") and id.isascii() and len(id) < 40 for id in ids)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_request_id_goes_upstream_and_the_upstreams_comes_back_under_another_name(
    nursery, autojump_clock, stream
):
    said = STREAM if stream else ANSWER
    said = [said[0].replace(b"\r\n", b"\r\nX-Request-Id: req_theirs\r\n", 1), *said[1:]]
    upstream = Upstream(nursery, said)
    answer = await Rig(nursery, upstream).ask(stream=stream)
    assert answer.headers["x-upstream-request-id"] == "req_theirs"
    assert upstream.requests[0].headers["x-request-id"] == answer.headers["x-request-id"]
    assert "x-penstock-request-id" not in answer.headers


@pytest.mark.parametrize("body", [{}, {"stream": True}, {"messages": []}])
async def test_an_id_that_the_client_brings_leads_through_and_ours_stands_beside_it(nursery, autojump_clock, body):
    upstream = Upstream(nursery, always=STREAM if body.get("stream") else ANSWER)
    answer = await Rig(nursery, upstream).ask(headers={"X-Request-ID": "edge-7/a:1"}, **body)
    assert answer.headers["x-request-id"] == "edge-7/a:1"
    assert answer.headers["x-penstock-request-id"].startswith("req_")
    assert [request.headers["x-request-id"] for request in upstream.requests] == ["edge-7/a:1"][: answer.status == 200]


async def test_the_answers_own_id_is_never_the_clients(nursery, autojump_clock):
    upstream = Upstream(nursery, always=[STREAM[0], *stream(text("Hello"), finish(), DONE)[1:]])
    rig = Rig(nursery, upstream)
    answers = [await rig.ask(headers={"x-request-id": "same"}, stream=True) for _ in range(2)]
    ids = {event["id"] for answer in answers for event in answer.events if event != DONE}
    assert "chatcmpl-same" not in ids


@pytest.mark.parametrize("id", ["a" * 129, "", "two words", "<script>", "\xe4", "a,b"])
async def test_an_id_that_no_header_should_bear_is_replaced(nursery, autojump_clock, id):
    upstream = Upstream(nursery, ANSWER)
    answer = await Rig(nursery, upstream).ask(headers={"x-request-id": id})
    assert answer.headers["x-request-id"].startswith("req_")
    assert upstream.requests[0].headers["x-request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_client_calls_its_request_is_said_back_and_goes_upstream(nursery, autojump_clock, stream):
    upstream = Upstream(nursery, STREAM if stream else ANSWER)
    answer = await Rig(nursery, upstream).ask(headers={"X-Client-Request-Id": "trace 7/a"}, stream=stream)
    assert answer.headers["x-client-request-id"] == "trace 7/a"
    assert upstream.requests[0].headers["x-client-request-id"] == "trace 7/a"


@pytest.mark.parametrize("stream", [True, False])
async def test_the_clients_own_id_stands_in_the_log(nursery, autojump_clock, caplog, stream):
    caplog.set_level(logging.INFO, "penstock.requests")
    rig = Rig(nursery, Upstream(nursery, STREAM if stream else ANSWER))
    answer = await rig.ask(headers={"X-Client-Request-Id": "trace 7/a"}, stream=stream)
    await wait_all_tasks_blocked()
    (record,) = caplog.records
    assert answer.headers["x-request-id"] in record.message
    assert "client_id='trace 7/a'" in record.message


async def test_an_id_that_leads_through_stands_in_the_log_beside_ours(nursery, autojump_clock, caplog):
    caplog.set_level(logging.INFO, "penstock.requests")
    answer = await Rig(nursery, Upstream(nursery, ANSWER)).ask(headers={"X-Request-Id": "edge-7"})
    await wait_all_tasks_blocked()
    assert answer.headers["x-penstock-request-id"] in caplog.text
    assert "client_id='edge-7'" in caplog.text


@pytest.mark.parametrize("id", ["a" * (MAX_CLIENT_ID + 1), "ä", "a\tb", ""])
async def test_an_id_that_no_log_line_should_bear_is_left_out_and_no_error(nursery, autojump_clock, caplog, id):
    caplog.set_level(logging.INFO, "penstock.requests")
    answer = await Rig(nursery, Upstream(nursery, ANSWER)).ask(headers={"X-Client-Request-Id": id})
    assert answer.status == 200
    await wait_all_tasks_blocked()
    assert "client_id" not in caplog.text


def test_the_longest_id_of_a_client():
    head = check(b"GET / HTTP/1.1\r\nHost: x\r\nX-Client-Request-Id: " + b"a" * 512 + b"\r\n\r\n")
    made = Request(head, peer="", request_id="")
    assert made.client_id == "a" * 512


def test_a_message_on_a_websocket_has_an_id_of_its_own():
    head = check(b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Request-Id: edge-7\r\nX-Team: blue\r\n\r\n")
    opening = Request(head, peer="", request_id="req_1")
    message, named = opening.again("req_2", {}), opening.again("req_3", {"x-request-id": "mine"})
    assert (opening.shown_id, message.shown_id, named.shown_id) == ("edge-7", "req_2", "mine")
    assert dict(message.travelling()) == {"x-team": "blue"}
    assert dict(named.travelling()) == {"x-team": "blue", "x-request-id": "mine"}
