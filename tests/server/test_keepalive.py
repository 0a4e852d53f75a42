"""Comments that fill silence: when, in what form, and what they change about everything else."""

import pytest
import trio

import answers
from answers import DONE, LAST, STREAM, chunked, finish, reply, role, sse, stream, text
from penstock.providers.memory import memory_pair
from penstock.server.reply import Reply
from rig import Rig, settled
from scripted import CLOSE, EXPECT_CLOSE, RESET, Upstream

FIVE = "[timeouts]\nkeepalive = 5\n"
ROUTE = '[routes.safe]\nproviders = ["up", "other"]\n'
COMMENT = b": keep-alive\n\n"
BEGUN = chunked(sse(role(), text("Hel")))
ENDED = chunked(sse(finish(), DONE)) + LAST


def times(answer, began):
    """When comments came, and that each was whole and alone."""
    assert all(piece == COMMENT for _, piece in answer.pieces if piece.startswith(b":"))
    return [at - began for at, piece in answer.pieces if piece == COMMENT]


@pytest.mark.parametrize("head_at", [0.0, 12.0], ids=["silence after the head", "silence before the head"])
async def test_c71_silence_is_filled_from_the_start(nursery, autojump_clock, head_at):
    upstream = Upstream(nursery, [head_at, STREAM, 18 - head_at, BEGUN, 7.0, ENDED])
    client = Rig(nursery, upstream, FIVE).connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert times(answer, began) == [5, 10, 15, 23]
    assert (answer.text, answer.events[-1]) == ("Hel", DONE)


@pytest.mark.parametrize("attempt", ["connecting", "second"])
async def test_c71_silence_is_filled_whatever_the_gateway_waits_for(nursery, autojump_clock, attempt):
    async def slow():
        await trio.sleep(9)
        return good.connect()

    good = Upstream(nursery, [STREAM, BEGUN, ENDED])
    first = slow if attempt == "connecting" else Upstream(nursery, [3.0, reply(answers.error(), 500)])
    rig = Rig(nursery, first, FIVE + ROUTE, other=slow)
    client = rig.connect()
    began = trio.current_time()
    await client.chat(model="safe/tiny", stream=True)
    answer = await client.answer()
    assert times(answer, began) == ([5] if attempt == "connecting" else [5, 10])
    assert answer.text == "Hel"


async def test_c71_none_by_default(nursery, autojump_clock):
    upstream = Upstream(nursery, [60.0, STREAM, 30.0, BEGUN, 29.0, ENDED])
    client = Rig(nursery, upstream).connect()
    await client.chat(stream=True)
    assert b"keep-alive" not in (await client.answer()).body


async def test_c71_none_in_an_answer_in_one_piece(nursery, autojump_clock):
    upstream = Upstream(nursery, [60.0, reply(answers.completion("Hi"))])
    client = Rig(nursery, upstream, FIVE).connect()
    await client.chat()
    assert (await client.answer()).json["choices"][0]["message"]["content"] == "Hi"


async def test_c71_none_where_there_is_no_silence(nursery, autojump_clock):
    tokens = [step for _ in range(20) for step in (4.0, chunked(sse(text("."))))]
    client = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, *tokens, ENDED]), FIVE).connect()
    await client.chat(stream=True)
    answer = await client.answer()
    assert (answer.text, b"keep-alive" in answer.body) == ("Hel" + 20 * ".", False)


@pytest.mark.parametrize("voice", ["provider", "request"])
async def test_c71_a_provider_and_a_request_may_say_otherwise(nursery, autojump_clock, voice):
    toml, headers = FIVE, {}
    if voice == "provider":
        toml += '[providers.up]\npreset = "openai"\ntimeouts = { keepalive = 2 }\n'
    else:
        headers = {"x-penstock-timeouts": "keepalive=2"}
    client = Rig(nursery, Upstream(nursery, [5.0, STREAM, BEGUN, ENDED]), toml).connect()
    began = trio.current_time()
    await client.chat(stream=True, headers=headers)
    assert times(await client.answer(), began) == [2, 4]


async def test_c72_the_form_is_a_comment_and_a_blank_line_in_a_chunk_of_its_own(nursery, autojump_clock):
    """No `id:` is ever sent, which is what makes the blank line safe for openai-python; never `: ping`."""
    client = Rig(nursery, Upstream(nursery, [STREAM, 6.0, BEGUN, ENDED]), FIVE).connect()
    await client.chat(stream=True)
    head = await client.head()
    assert (head.status_code, dict(head.headers)[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
    assert await client.piece() == b": keep-alive\n\n"
    assert await client.piece() == sse(role(), text("Hel"))


# -- the first comment is the commit point ---------------------------------------------------------------

FATES = {
    "refused": [reply(answers.error("no GPU"), 503)],
    "reset": [RESET],
    "closed": [CLOSE],
    "an empty stream": [STREAM, LAST],
    "an error as first event": [STREAM, chunked(sse(answers.error("no GPU"))), LAST],
    "first_event": [EXPECT_CLOSE],
    "what is no JSON": [STREAM, chunked(b"data: {oops\n\n"), LAST],
}


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
async def test_c71_a_failure_after_the_first_comment_is_told_in_band(nursery, autojump_clock, fate):
    other = Upstream(nursery)
    rig = Rig(nursery, Upstream(nursery, [6.0, *fate]), FIVE + ROUTE, other=other)
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=True)
    answer = await client.answer()
    assert answer.status == 200
    assert answer.body.startswith(COMMENT)
    (error,) = answer.events  # one event, and no [DONE]
    assert error["error"]["message"]
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert other.connections == 0
    await settled()
    assert "completed" not in rig.gateway.ledger.endings


@pytest.mark.parametrize("fate", [*FATES.values()][:4], ids=[*FATES][:4])
async def test_c71_a_failure_before_the_first_comment_is_a_status_and_is_tried_elsewhere(nursery, autojump_clock, fate):
    other = Upstream(nursery, stream(role(), text("Hi"), finish(), DONE))
    rig = Rig(nursery, Upstream(nursery, [4.0, *fate], [4.0, *fate]), FIVE + ROUTE, other=other)
    client = rig.connect()
    await client.chat(model="safe/tiny", stream=True)
    assert (await client.answer()).text == "Hi"
    await client.chat(stream=True)
    assert (await client.answer()).status >= 500


async def test_c68_the_deadline_of_a_request_is_not_moved_by_our_comments(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    client = Rig(nursery, upstream, FIVE).connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 30
    assert "(idle)" in answer.events[-1]["error"]["message"]


# -- never late, never too many --------------------------------------------------------------------------


async def test_c73_the_end_comes_when_it_comes(nursery, autojump_clock):
    client = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, 5.0, ENDED]), FIVE).connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 5
    assert answer.events[-1] == DONE


@pytest.mark.parametrize("end", ["a stream", "an error"])
async def test_c73_nothing_comes_after_the_end(nursery, autojump_clock, end):
    """The client is slow to take the end, and comments fall due meanwhile: they must not follow it."""
    good = stream(role(), text("x" * 3000), finish(), DONE)
    failed = [reply(answers.error("x" * 3000), 400)]
    upstream = Upstream(nursery, good if end == "a stream" else failed, good)
    client = Rig(nursery, upstream, FIVE).connect(capacity=500)
    await client.chat(stream=True)
    await trio.sleep(22)
    answer = await client.answer()
    if end == "a stream":
        assert (answer.text, answer.events[-1]) == ("x" * 3000, DONE)
    else:
        assert answer.error["message"] == "x" * 3000
    await client.chat(stream=True)  # the next answer begins where the last one ended
    assert (await client.answer()).events[-1] == DONE


async def test_c73_comments_do_not_cut_into_an_event(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("x" * 3000))), 1.0, ENDED])
    client = Rig(nursery, upstream, FIVE).connect(capacity=500)
    await client.chat(stream=True)
    await trio.sleep(22)
    answer = await client.answer()
    assert (answer.text, answer.events[-1]) == ("x" * 3000, DONE)
    assert b"keep-alive" not in answer.body  # bytes were on their way all the time


async def test_c73_a_comment_that_found_little_room_is_completed_first(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, 22.0, ENDED])
    rig = Rig(nursery, upstream, FIVE)
    began = trio.current_time()
    client = rig.connect(capacity=800)
    await client.chat(stream=True)
    await settled()
    waiting = len(client.stream._in.data)
    client.stream._in.capacity = waiting + 7  # room for a part of the next comment
    await trio.sleep_until(began + 11)
    answer = await client.answer()
    assert (answer.text, answer.events[-1]) == ("Hel", DONE)
    assert COMMENT in answer.body
    assert answer.body.replace(COMMENT, b"") == sse(role(), text("Hel")) + sse(finish(), DONE)


async def test_c73_a_comment_that_is_due_in_the_moment_of_the_end_is_dropped():
    ours, theirs = memory_pair()
    reply = Reply(ours, None, 30, keep_alive=True)
    reply.begin(200, [])
    await reply.end(b"data: [DONE]\n\n")
    reply.remark(COMMENT)
    ours.close()
    seen = await theirs.receive()
    assert seen.endswith(LAST)
    assert await theirs.receive() == b""


async def test_c74_upstream_pings_keep_the_client_alive_in_our_own_words(nursery, autojump_clock):
    pings = [step for _ in range(12) for step in (chunked(b": OPENROUTER PROCESSING\n\n"), 2.0)]
    client = Rig(nursery, Upstream(nursery, [STREAM, *pings, BEGUN, *pings, ENDED]), FIVE).connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert b"OPENROUTER" not in answer.body
    assert times(answer, began) == [5, 10, 15, 20, 29, 34, 39, 44]
    assert answer.text == "Hel"


async def test_c71_ten_thousand_comments_to_a_client_that_reads_none(nursery, autojump_clock):
    """They are dropped where they find no room, the deadline stands, and the error is not said into a half one."""
    toml = "[timeouts]\nkeepalive = 0.01\nfirst_event = 100\n"
    upstream = Upstream(nursery, [STREAM, EXPECT_CLOSE])
    rig = Rig(nursery, upstream, toml)
    client = rig.connect(capacity=2000)
    began = trio.current_time()
    await client.chat(stream=True)
    await upstream.all_closed()
    assert upstream.requests[0].closed_at - began == 100
    answer = await client.answer()
    (error,) = answer.events
    assert "(first_event)" in error["error"]["message"]
