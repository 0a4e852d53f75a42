"""Each deadline by itself: its phase, its error, and what it must leave alone. All times are virtual."""

import pytest
import trio

import answers
from answers import DONE, LAST, STREAM, chunked, completion, delta, finish, reply, role, sse, stream, text, usage
from rig import Rig, settled
from scripted import EXPECT_CLOSE, Upstream, forever

BEGUN = chunked(sse(role(), text("Hel")))
COMMENT = chunked(b": still at it\n\n")
FINISHED = chunked(sse(finish()))
WHOLE = answers.head(200, ("Content-Type", "application/json"), ("Content-Length", "1000"))


async def hang():
    await trio.sleep_forever()


async def timed_out(rig, which):
    await settled()
    assert rig.gateway.ledger.endings == {f"timed_out({which})": 1}
    assert rig.gateway.ledger.in_flight == 0


# name -> what the upstream does, and how long the client waits for the 504 (of 7 s unless it says otherwise)
BEFORE_THE_COMMIT_POINT = {
    "connect": (None, True),
    "first_event": ([EXPECT_CLOSE], True),
    "answer": ([EXPECT_CLOSE], False),
    "total": ([EXPECT_CLOSE], True),
}


@pytest.mark.parametrize("which", BEFORE_THE_COMMIT_POINT)
async def test_c65_a_deadline_before_the_commit_point_is_a_504_of_its_own(nursery, autojump_clock, which):
    script, streams = BEFORE_THE_COMMIT_POINT[which]
    upstream = Upstream(nursery, script) if script else None
    rig = Rig(nursery, upstream or hang, f"[timeouts]\n{which} = 7\n")
    client = rig.connect()
    began = trio.current_time()
    await client.chat(stream=streams)
    answer = await client.answer()
    assert trio.current_time() - began == 7
    assert (answer.status, answer.error["type"], answer.error["code"]) == (504, "server_error", "upstream_timeout")
    assert answer.error["message"].endswith(f"within 7 s ({which}).")
    # SDKs try a 504 again by themselves. Nothing was paid for yet if there was no connection.
    assert answer.headers.get("x-should-retry") == (None if which == "connect" else "false")
    await timed_out(rig, which)
    assert rig.gateway.ledger.failures == {("up", f"timed_out({which})"): 1}
    if upstream:
        await upstream.all_closed()
        assert upstream.requests[0].closed_at - began == 7


@pytest.mark.parametrize("which", ["idle", "total"])
async def test_c65_a_deadline_after_the_commit_point_is_told_in_band(nursery, autojump_clock, which):
    upstream = Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE])
    rig = Rig(nursery, upstream, f"[timeouts]\n{which} = 7\n")
    client = rig.connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 7
    *_, last = answer.events
    assert (answer.status, answer.text) == (200, "Hel")
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "upstream_timeout")
    assert last["error"]["message"].endswith(f"within 7 s ({which}).")
    assert DONE not in answer.events
    assert b'"finish_reason":"' not in answer.body
    await timed_out(rig, which)
    await upstream.all_closed()
    assert upstream.requests[0].closed_at - began == 7


async def test_c65_no_two_deadlines_say_the_same(nursery, autojump_clock):
    said = set()
    for which, (script, streams) in BEFORE_THE_COMMIT_POINT.items():
        client = Rig(nursery, Upstream(nursery, script) if script else hang, f"[timeouts]\n{which} = 7\n").connect()
        await client.chat(stream=streams)
        said.add((await client.answer()).error["message"].partition(" within ")[0])
    client = Rig(nursery, Upstream(nursery, [STREAM, BEGUN, EXPECT_CLOSE]), "[timeouts]\nidle = 7\n").connect()
    await client.chat(stream=True)
    said.add((await client.answer()).events[-1]["error"]["message"].partition(" within ")[0])
    assert len(said) == 5


async def test_c65_a_client_that_takes_nothing_is_dropped_without_an_end(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, forever(chunked(sse(text("x" * 1000))))])
    rig = Rig(nursery, upstream, "[timeouts]\nwrite = 7\n")
    client = rig.connect(capacity=2000)
    began = trio.current_time()
    await client.chat(stream=True)
    await upstream.all_closed()
    assert upstream.requests[0].closed_at - began == 7
    await timed_out(rig, "write")
    assert not rig.gateway.ledger.failures  # it was not the provider that was slow
    seen = b""
    while piece := await client.stream.receive():
        seen += piece
    assert not seen.endswith(LAST)  # the client must be able to tell that this is not all
    assert rig.gateway.connections == 0


@pytest.mark.parametrize("streams", [True, False])
async def test_c65_a_client_that_does_not_take_the_last_bytes_is_dropped_too(nursery, autojump_clock, streams):
    long = "x" * 4000
    script = stream(role(), text(long), finish(), DONE) if streams else [reply(completion(long))]
    rig = Rig(nursery, Upstream(nursery, script), "[timeouts]\nwrite = 7\nkeep_alive = 1000\n")
    client = rig.connect(capacity=1000)
    began = trio.current_time()
    await client.chat(stream=streams)
    await settled()
    while rig.gateway.connections:
        await trio.sleep(1)
    assert 7 <= trio.current_time() - began <= 12
    await timed_out(rig, "write")


async def test_c65_a_large_error_does_not_hold_the_connection_either(nursery, autojump_clock):
    script = [reply(answers.error("x" * 4000), 400)]
    rig = Rig(nursery, Upstream(nursery, script), "[timeouts]\nwrite = 7\nkeep_alive = 1000\n")
    client = rig.connect(capacity=1000)
    began = trio.current_time()
    await client.chat()
    await settled()
    while rig.gateway.connections:
        await trio.sleep(1)
    assert 7 <= trio.current_time() - began <= 12


async def test_c65_first_event_begins_when_the_request_is_written(nursery, autojump_clock):
    upstream = Upstream(nursery, [EXPECT_CLOSE])

    async def connect_slowly():
        await trio.sleep(8)
        return upstream.connect()

    rig = Rig(nursery, connect_slowly, "[timeouts]\nfirst_event = 5\n")
    client = rig.connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert "(first_event)" in answer.error["message"]
    assert trio.current_time() - began == 13


async def test_c65_total_spans_all_attempts(nursery, autojump_clock):
    upstream = Upstream(nursery, [6.0, reply(answers.error(), 500)])
    other = Upstream(nursery, [6.0, reply(answers.error(), 500)])
    third = Upstream(nursery)
    toml = '[timeouts]\ntotal = 10\n[routes.safe]\nproviders = ["up", "other", "third"]\n'
    rig = Rig(nursery, upstream, toml, other=other, third=third)
    client = rig.connect()
    began = trio.current_time()
    await client.chat(model="safe/tiny", stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 10
    assert answer.status == 504
    assert "within 10 s (total)" in answer.error["message"]
    assert third.connections == 0
    await timed_out(rig, "total")


@pytest.mark.parametrize("streams", [True, False])
async def test_c65_zero_is_no_limit(nursery, autojump_clock, streams):
    toml = "[timeouts]\nconnect = 0\nfirst_event = 0\nidle = 0\nwrite = 0\nanswer = 0\ntotal = 0\nsettle = 0\n"
    script = [STREAM, 1e5, BEGUN, 1e5, chunked(sse(text("lo"), finish())), 1e5, chunked(sse(DONE)), LAST]
    rig = Rig(nursery, Upstream(nursery, script), toml)
    client = rig.connect()
    await client.chat(stream=streams)
    answer = await client.answer()
    assert (answer.text if streams else answer.json["choices"][0]["message"]["content"]) == "Hello"
    assert rig.gateway.ledger.endings == {"completed": 1}


# -- settle ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [[], [COMMENT, 1.0] * 20], ids=["silence", "comments"])
async def test_c65_after_the_finish_reasons_only_so_much_is_waited_for(nursery, autojump_clock, late):
    """The upstream has declared the end; a host that keeps the connection open must not keep the client."""
    upstream = Upstream(nursery, [STREAM, BEGUN, FINISHED, *late, EXPECT_CLOSE])
    rig = Rig(nursery, upstream)
    client = rig.connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 5
    assert answer.events[-1] == DONE
    assert answer.events[-2]["choices"][0]["finish_reason"] == "stop"
    assert rig.gateway.ledger.endings == {"completed": 1}
    await upstream.all_closed()


async def test_c52_late_usage_within_the_time_is_not_lost(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, BEGUN, FINISHED, 4.0, chunked(sse(usage(9, 2), DONE)), LAST])
    client = Rig(nursery, upstream).connect()
    await client.chat(stream=True, stream_options={"include_usage": True})
    answer = await client.answer()
    assert answer.events[-2]["usage"]["total_tokens"] == 11


async def test_c65_a_choice_that_begins_after_another_has_finished_has_its_own_time(nursery, autojump_clock):
    second = [delta(index=1, content=word) for word in ("a", "b")]
    script = [STREAM, BEGUN, FINISHED, 4.0, chunked(sse(second[0])), 20.0, chunked(sse(second[1]))]
    script += [20.0, chunked(sse(finish(index=1), DONE)), LAST]
    client = Rig(nursery, Upstream(nursery, script)).connect()
    await client.chat(stream=True, n=2)
    answer = await client.answer()
    assert answers.content(answer.events, index=1) == "ab"
    assert answer.events[-1] == DONE


# -- what must live --------------------------------------------------------------------------------------


async def test_c66_half_an_hour_of_a_slow_stream_lives(nursery, autojump_clock):
    tokens = [step for number in range(72) for step in (25.0, chunked(sse(text(f"{number} "))))]
    script = [STREAM, BEGUN, *tokens, chunked(sse(finish(), DONE)), LAST]
    rig = Rig(nursery, Upstream(nursery, script), "[timeouts]\nanswer = 60\nfirst_event = 60\n")
    client = rig.connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 1800
    assert answer.text == "Hel" + "".join(f"{number} " for number in range(72))
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_c66_idle_does_not_fire_before_the_first_token(nursery, autojump_clock):
    script = [STREAM, 110.0, BEGUN, 80.0, chunked(sse(finish(), DONE)), LAST]
    client = Rig(nursery, Upstream(nursery, script), "[timeouts]\nidle = 90\n").connect()
    await client.chat(stream=True)
    assert (await client.answer()).events[-1] == DONE


async def test_c66_answer_is_for_what_does_not_stream(nursery, autojump_clock):
    """The head of a whole answer comes when the model is done: `first_event` and `idle` mean nothing there."""
    toml = "[timeouts]\nfirst_event = 5\nidle = 5\n"
    body = reply(completion("Hello"))
    upstream = Upstream(nursery, [200.0, body[:200], 90.0, body[200:]], [200.0, body[:200], 101.0, body[200:]])
    rig = Rig(nursery, upstream, toml)
    client = rig.connect()
    await client.chat()
    assert (await client.answer()).json["choices"][0]["message"]["content"] == "Hello"
    began = trio.current_time()
    await client.chat()
    answer = await client.answer()
    assert trio.current_time() - began == 300
    assert answer.error["message"].endswith("within 300 s (answer).")


async def test_c66_the_upstream_is_not_blamed_for_a_slow_reader(nursery, autojump_clock):
    """While the gateway waits for the client, the upstream cannot send: its idle time does not run."""
    script = [STREAM, BEGUN, chunked(sse(text("x" * 3000))), 2.0, FINISHED, chunked(sse(DONE)), LAST]
    rig = Rig(nursery, Upstream(nursery, script), "[timeouts]\nidle = 5\nwrite = 30\n")
    client = rig.connect(capacity=1000)
    await client.chat(stream=True)
    await trio.sleep(25)
    answer = await client.answer()
    assert answer.events[-1] == DONE
    await settled()
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_c67_headers_and_then_silence_is_bounded_and_tried_elsewhere(nursery, autojump_clock):
    upstream, other = (
        Upstream(nursery, [STREAM, EXPECT_CLOSE]),
        Upstream(nursery, stream(role(), text("Hi"), finish(), DONE)),
    )
    rig = Rig(nursery, upstream, '[routes.safe]\nproviders = ["up", "other"]\n', other=other)
    client = rig.connect()
    began = trio.current_time()
    await client.chat(model="safe/tiny", stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 120
    assert (answer.text, answer.headers["x-penstock-attempts"]) == ("Hi", "2")
    await upstream.requests[0].closed.wait()
    assert upstream.requests[0].closed_at - began == 120
    assert rig.gateway.ledger.failures == {("up", "timed_out(first_event)"): 1}
    assert rig.gateway.ledger.endings == {"completed": 1}


async def test_c68_comments_are_no_first_event(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, *[COMMENT, 10.0] * 20, EXPECT_CLOSE])
    client = Rig(nursery, upstream).connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 120
    assert "(first_event)" in answer.error["message"]


async def test_c68_our_own_keep_alive_is_no_first_event(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, EXPECT_CLOSE])
    rig = Rig(nursery, upstream, "[timeouts]\nkeepalive = 10\n")
    client = rig.connect()
    began = trio.current_time()
    await client.chat(stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 120
    assert "(first_event)" in answer.events[-1]["error"]["message"]
    await timed_out(rig, "first_event")


async def test_c68_comments_are_life_between_events(nursery, autojump_clock):
    script = [STREAM, BEGUN, *[20.0, COMMENT] * 10, 20.0, chunked(sse(finish(), DONE)), LAST]
    client = Rig(nursery, Upstream(nursery, script)).connect()
    await client.chat(stream=True)
    assert (await client.answer()).events[-1] == DONE


# -- who may say how long --------------------------------------------------------------------------------

STAGES = {
    "connect": (None, {"stream": True}),
    "first_event": ([EXPECT_CLOSE], {"stream": True}),
    "idle": ([STREAM, BEGUN, EXPECT_CLOSE], {"stream": True}),
    "answer": ([WHOLE, EXPECT_CLOSE], {}),
    "total": ([STREAM, BEGUN, EXPECT_CLOSE], {"stream": True}),
    "write": ([STREAM, chunked(sse(role(), text("x" * 3000))), EXPECT_CLOSE], {"stream": True}),
    "settle": ([STREAM, BEGUN, FINISHED, EXPECT_CLOSE], {"stream": True}),
}


@pytest.mark.parametrize("voice", ["all", "provider", "request"])
@pytest.mark.parametrize("which", STAGES)
async def test_c65_a_request_beats_a_provider_which_beats_all(nursery, autojump_clock, which, voice):
    script, body = STAGES[which]
    toml = f"[timeouts]\n{which} = 9\n"
    expected, headers = 9.0, {}
    if voice != "all":
        expected = 8.0
        toml += f'[providers.up]\npreset = "openai"\ntimeouts = {{ {which} = 8 }}\n'
    if voice == "request":
        expected = 7.0
        headers = {"x-penstock-timeouts": f"{which}=7"}
    upstream = Upstream(nursery, script) if script else hang
    rig = Rig(nursery, upstream, toml)
    client = rig.connect(capacity=1000)
    began = trio.current_time()
    await client.chat(headers=headers, **body)
    if which == "write":
        await upstream.all_closed()
    else:
        await client.answer()
    assert trio.current_time() - began == expected
    await settled()
    assert rig.gateway.ledger.endings == {"completed" if which == "settle" else f"timed_out({which})": 1}


async def test_c65_the_header_says_several_and_zero_for_none(nursery, autojump_clock):
    rig = Rig(nursery, Upstream(nursery, [EXPECT_CLOSE]))
    client = rig.connect()
    began = trio.current_time()
    await client.chat(headers={"x-penstock-timeouts": "first_event=0, total=4000.5"}, stream=True)
    answer = await client.answer()
    assert trio.current_time() - began == 4000.5
    assert answer.error["message"].endswith("within 4000.5 s (total).")


@pytest.mark.parametrize(
    "header", ["idle", "idle=", "idle=-1", "idle=nan", "idle=inf", "drain=5", "IDLE=5", "idle=5,,total=6", "=5", ""]
)
async def test_c65_a_header_that_says_nothing_clear_is_refused(nursery, header):
    rig = Rig(nursery, Upstream(nursery))
    client = rig.connect()
    await client.chat(headers={"x-penstock-timeouts": header}, stream=True)
    answer = await client.answer()
    assert answer.status == 400
    assert "x-penstock-timeouts" in answer.error["message"]
    assert not rig.gateway.ledger.endings  # refused before anybody was asked


async def test_a_deadline_does_not_outlive_its_request(nursery, autojump_clock):
    """The connection's next request, and its idle time, begin afresh."""
    script = stream(role(), text("Hi"), finish(), DONE)
    slow = [STREAM, 9.0, *script[1:]]
    client = Rig(nursery, Upstream(nursery, script, slow)).connect()
    await client.chat(headers={"x-penstock-timeouts": "first_event=5, total=6"}, stream=True)
    assert (await client.answer()).text == "Hi"
    await trio.sleep(60)
    await client.chat(stream=True)
    assert (await client.answer()).text == "Hi"
