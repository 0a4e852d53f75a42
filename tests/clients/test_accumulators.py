"""`chat.Accumulator` and the accumulators of the vendors' own packages: the same bytes, the same answer.

The bytes come over real sockets, from a server to the package; the decoder of their dialect reads the very same.
"""

import json

import anthropic
import openai
import pytest

import scripted
from answers import LAST, STREAM, chunked
from anthropic_streams import USAGE, about, block, event, start
from anthropic_streams import stream as messages
from chat_streams import MULTILINGUAL, chunk, sse
from clients import sdk
from penstock.protocol.chat import Accumulator
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.dialects.openai_mend import finish_reason
from penstock.protocol.relay import Relay

# The packages leave their own async generators unfinished, for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator '(openai|anthropic|httpx|httpcore):ResourceWarning")

COUNTS = {
    "prompt_tokens": 9,
    "completion_tokens": 12,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
ROLE = chunk({"role": "assistant", "content": ""})
LAST_CHUNK = chunk(choices=[], usage=COUNTS)


def ours(dialect, data):
    """The choices by index, identity and counts, as `Accumulator` has them."""
    decoder = DIALECTS[dialect].decoder("sse", created=7)
    whole = Accumulator()
    for at in range(0, len(data), 11):
        whole.feed(decoder.feed(data[at : at + 11]))
    whole.feed(decoder.close())
    assert decoder.failed is None
    return whole.answer()


async def served(nursery, data):
    """A server whose only answer is this stream."""
    return await scripted.listen(nursery, [STREAM, chunked(data) + LAST])


def call(index, arguments="", index_of_choice=0, **begin):
    function = {"arguments": arguments}
    if begin:
        function = {"name": begin.pop("name"), **function}
        begin["type"] = "function"
    return chunk({"tool_calls": [{"index": index, **begin, "function": function}]}, index=index_of_choice)


# -- openai-python ----------------------------------------------------------------------------------------

CHUNKS = {
    "text": sse(ROLE, *[chunk({"content": text}) for text in MULTILINGUAL], chunk({}, "stop"), LAST_CHUNK),
    "calls in parallel, their arguments in pieces": sse(
        chunk({"role": "assistant", "content": None}),
        call(0, id="call_a", name="f"),
        call(0, '{"x"'),
        call(1, id="call_b", name="g"),
        call(0, ':"é'),
        call(1, "{}"),
        call(0, '"}'),
        chunk({}, "tool_calls"),
        LAST_CHUNK,
    ),
    "reasoning": sse(
        ROLE,
        chunk({"reasoning_content": "Let "}),
        chunk({"reasoning_content": "me"}),
        chunk({"content": "Hi"}),
        chunk({}, "stop"),
    ),
    "a refusal": sse(
        chunk({"role": "assistant", "content": None, "refusal": ""}),
        chunk({"refusal": "I "}),
        chunk({"refusal": "can't."}),
        chunk({}, "stop"),
        LAST_CHUNK,
    ),
    "two choices": sse(
        ROLE,
        chunk({"role": "assistant", "content": ""}, index=1),
        chunk({"content": "one"}),
        chunk({"content": "two"}, index=1),
        call(0, "{}", 1, id="call_a", name="f"),
        chunk({"content": "!"}),
        chunk({}, "stop"),
        chunk({}, "tool_calls", index=1),
        LAST_CHUNK,
    ),
    "cut short": sse(ROLE, chunk({"content": "Once upon"}), chunk({}, "length"), LAST_CHUNK),
    "no usage": sse(ROLE, chunk({"content": "Hi"}), chunk({}, "stop")),
}


async def completion(nursery, data):
    """What the package's `.stream()` makes of this stream; an answer that is cut short is in the error it raises."""
    client = sdk.AsyncSdk((await served(nursery, data)).base_url)
    try:
        _, final = await client.helper()
    except openai.LengthFinishReasonError as exc:
        return exc.completion
    finally:
        await client.close()
    return final


@pytest.mark.parametrize("name", CHUNKS)
async def test_openai_python_puts_the_same_together(nursery, name):
    final = await completion(nursery, CHUNKS[name])
    answer = ours("openai", CHUNKS[name])
    assert (answer.id, answer.model, answer.created) == (final.id, final.model, final.created)
    assert len(answer.choices) == len(final.choices)
    for choice, other in zip(answer.choices, final.choices, strict=True):
        said = other.message
        assert (choice.index, choice.reason) == (other.index, other.finish_reason)
        assert choice.text == (said.content or "")
        assert choice.refusal == (said.refusal or "")
        assert choice.reasoning == ((said.model_extra or {}).get("reasoning_content") or "")
        assert [(call.index, call.id, call.name, call.arguments) for call in choice.tool_calls] == [
            (at, call.id, call.function.name, call.function.arguments) for at, call in enumerate(said.tool_calls or ())
        ]
    counts = final.usage and final.usage.to_dict()
    assert (answer.usage and answer.usage.raw) == counts
    if counts:
        assert answer.usage[:5] == (9, 12, 21, 4, 5)


# -- anthropic-python -------------------------------------------------------------------------------------

MESSAGES = {
    "text": messages(block(0, "text", *MULTILINGUAL)),
    "reasoning with its signature, text and calls": messages(
        block(0, "thinking", "Let ", "me", signature="EqQB+/=="),
        block(1, "redacted_thinking", data="opaque=="),
        block(2, "text", "Hi", " there"),
        block(3, "tool_use", "", '{"x"', ':"é', '"}', id="toolu_1", name="f"),
        block(4, "tool_use", id="toolu_2", name="g"),
        block(5, "tool_use", '{"y":[1,{"z":null}]}', id="toolu_3", name="f"),
        reason="tool_use",
    ),
    "reasoning that is not shown": messages(block(0, "thinking", signature="sig"), block(1, "text", "Hi")),
    "signatures in pieces, of which the last counts": messages(
        event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "a", "signature": "x"})
        + event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "y"})
        + event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "z"})
        + event("content_block_stop", index=0)
    ),
    "cut short": messages(block(0, "text", "Once upon"), reason="max_tokens"),
    "refused": messages(block(0, "text", "I"), reason="refusal"),
    "counts that are told twice": start()
    + block(0, "text", "Hi")
    + about(None, output_tokens=4, input_tokens=None)
    + about("end_turn", output_tokens=9, cache_read_input_tokens=0, output_tokens_details={"thinking_tokens": 2})
    + event("message_stop"),
    "nothing": messages(),
}


def read(message):
    """Texts, reasoning, calls, reason and counts of the package's message, as an `Answer` says them."""
    blocks = message.content
    thoughts = [(b.thinking, b.signature) for b in blocks if b.type == "thinking"]
    redacted = [b.data for b in blocks if b.type == "redacted_thinking"]
    calls = [(b.id, b.name, b.input) for b in blocks if b.type == "tool_use"]
    text = "".join(b.text for b in blocks if b.type == "text")
    usage = {key: count for key, count in message.usage.to_dict().items() if count is not None}
    return (message.id, message.model), text, thoughts, redacted, calls, finish_reason(message.stop_reason), usage


def said(answer):
    """The same of an `Answer`."""
    (choice,) = answer.choices
    signed = [thought for thought in choice.thoughts if not thought.signature.startswith("redacted_thinking:")]
    hidden = [thought.signature[18:] for thought in choice.thoughts if thought not in signed]
    calls = [(call.id, call.name, json.loads(call.arguments)) for call in choice.tool_calls]
    thoughts = [(thought.text, thought.signature) for thought in signed]
    head = (answer.id, answer.model)
    return head, choice.text, thoughts, hidden, calls, choice.reason, answer.usage and answer.usage.raw


async def final(nursery, data):
    """What the package's `messages.stream` makes of this stream."""
    upstream = await served(nursery, data)
    async with anthropic.AsyncAnthropic(base_url=upstream.url, api_key="sk-x", max_retries=0, timeout=10) as client:
        question = {"role": "user", "content": "Привет"}
        async with client.messages.stream(model="m", max_tokens=9, messages=[question]) as stream:
            return await stream.get_final_message()


@pytest.mark.parametrize("name", MESSAGES)
async def test_anthropic_python_puts_the_same_together(nursery, name):
    message = await final(nursery, MESSAGES[name])
    answer = ours("anthropic", MESSAGES[name])
    assert said(answer) == read(message)
    assert answer.usage.prompt == USAGE["input_tokens"] + 2 + (0 if "told twice" in name else 3)


@pytest.mark.parametrize("name", MESSAGES)
async def test_anthropic_python_reads_the_same_in_what_a_relay_passes_on(nursery, name):
    relay = Relay("anthropic", "anthropic")
    assert await final(nursery, relay.feed(MESSAGES[name]) + relay.close()) == await final(nursery, MESSAGES[name])


# -- an OpenAI upstream for anthropic-python --------------------------------------------------------------


@pytest.mark.parametrize("name", CHUNKS)
async def test_anthropic_python_reads_what_was_made_of_chunks(nursery, name):
    relay = Relay("openai", "anthropic")
    message = await final(nursery, relay.feed(CHUNKS[name]) + relay.close())
    answer = ours("openai", CHUNKS[name])
    first = answer.choices[0]
    head, text, thoughts, _, calls, reason, usage = read(message)
    assert head == (answer.id, answer.model)
    assert text == first.text + first.refusal
    assert thoughts == ([(first.reasoning, "")] if first.reasoning else [])
    assert calls == [(call.id, call.name, json.loads(call.arguments)) for call in first.tool_calls]
    assert reason == ("content_filter" if first.refusal else first.reason)
    assert usage["output_tokens"] == (answer.usage.completion if answer.usage else 0)
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == (answer.usage.prompt if answer.usage else 0)


@pytest.mark.parametrize(
    ("chunks", "error", "kind"),
    [
        ([], {"message": "busy", "type": "overloaded_error"}, "overloaded_error"),
        ([chunk({"reasoning_content": "hm"})], {"message": "slow", "code": 429}, "rate_limit_error"),
        ([call(0, '{"x', id="a", name="f")], {"message": "boom"}, "api_error"),
    ],
)
async def test_anthropic_python_raises_for_an_error_in_mid_stream(nursery, chunks, error, kind):
    relay = Relay("openai", "anthropic")
    data = sse(ROLE, chunk({"content": "Hi"}), *chunks, {"error": error}, done=False)
    with pytest.raises(anthropic.APIStatusError) as caught:
        await final(nursery, relay.feed(data) + relay.close())
    assert (caught.value.type, caught.value.api_message) == (kind, error["message"])


async def test_anthropic_python_raises_for_a_stream_that_breaks_off(nursery):
    relay = Relay("anthropic", "anthropic")
    with pytest.raises(anthropic.APIStatusError, match="before its answer was complete"):
        await final(nursery, relay.feed(start() + block(0, "text", "Hi")) + relay.close())
