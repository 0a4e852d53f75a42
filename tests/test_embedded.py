"""The gateway in memory serves as the real one does; these are the plainest cases of it."""

import trio

import scripted
from answers import DONE, STREAM, chunked, completion, content, finish, payloads, reply, role, sse, stream, text
from embedded import Embedded
from scripted import Upstream


async def test_a_stream_and_a_whole_answer_on_one_connection(nursery):
    upstream = Upstream(nursery, stream(role(), text("Вода"), finish(), DONE), [reply(completion("Да"))])
    client = Embedded(nursery, local=upstream).client()
    streamed = await client.chat(stream=True)
    assert streamed.status == 200
    told = payloads(await streamed.body())
    assert (content(told[:-1]), told[-1]) == ("Вода", DONE)
    whole = await client.chat()
    assert (await whole.json())["choices"][0]["message"]["content"] == "Да"
    assert upstream.connections == 1


async def test_silence_takes_its_time_on_the_clock_and_none_on_the_wall(nursery, autojump_clock):
    upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("a"))), scripted.EXPECT_CLOSE])
    answer = await Embedded(nursery, "[timeouts]\nidle = 45\n", local=upstream).client().chat(stream=True)
    began = trio.current_time()
    *_, failed = payloads(await answer.body())
    assert failed["error"]["code"] == "upstream_timeout"
    assert trio.current_time() - began == 45
    asked = await upstream.request()
    await asked.closed.wait()
    assert asked.closed_at - began == 45


async def test_a_client_that_leaves(nursery, autojump_clock):
    for leave in ("close", "reset", "end_sending"):
        upstream = Upstream(nursery, [STREAM, chunked(sse(role(), text("a"))), scripted.EXPECT_CLOSE])
        client = Embedded(nursery, local=upstream).client()
        answer = await client.chat(stream=True)
        assert content(payloads(await answer.piece())) == "a"
        left = trio.current_time()
        getattr(client.stream, leave)()
        await upstream.all_closed()
        assert trio.current_time() == left
