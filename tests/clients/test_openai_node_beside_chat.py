"""The `openai` package from npm beside the chat: embeddings, recordings, speech and moderations."""

import pytest
import trio

import answers
from answers import LAST, chunked, reply, sse
from clients import nodes

pytestmark = pytest.mark.node

VECTOR = [0.25, -0.5, 3.0]
PACKED = "AACAPgAAAL8AAEBA"


@pytest.fixture(scope="session")
def node():
    return nodes.require(nodes.FOLDER)


@pytest.mark.parametrize("told", [VECTOR, PACKED], ids=["the upstream has numbers", "the upstream has base64"])
async def test_c87_embeddings_are_the_same_by_default_and_as_numbers(start, node, told):
    data = [{"object": "embedding", "index": index, "embedding": told} for index in range(2)]
    answer = {"object": "list", "data": data, "model": "tiny", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    upstream, gateway = await start(always=[reply(answer)])
    for arguments in ({}, {"encoding_format": "float"}):
        [line] = await nodes.drive(node, gateway.base_url, "embeddings", input=["a", "b"], arguments=arguments)
        assert line["result"] == [VECTOR, VECTOR]
    assert upstream.requests[0].json["encoding_format"] == "base64"  # what the SDK asks for by itself


async def test_a_transcription(start, node):
    upstream, gateway = await start([reply({"text": "Привет"})], [reply("hi\n", content_type="text/plain")])
    [line] = await nodes.drive(node, gateway.base_url, "transcription")
    assert line["result"]["text"] == "Привет"
    asked = await upstream.request()
    assert bytes(range(256)) * 100 in asked.body
    assert b'name="model"\r\n\r\ntiny\r\n' in asked.body
    assert 'filename="запись.wav"'.encode() in asked.body
    [line] = await nodes.drive(node, gateway.base_url, "transcription", arguments={"response_format": "text"})
    assert line["result"] == "hi\n"


async def test_a_streamed_transcript(start, node):
    delta = {"type": "transcript.text.delta", "delta": "Прив"}
    done = {"type": "transcript.text.done", "text": "Привет"}
    _, gateway = await start(
        [answers.STREAM, chunked(sse(delta)), chunked(sse(done)), LAST], [answers.STREAM, chunked(sse(delta)), LAST]
    )
    lines = await nodes.drive(node, gateway.base_url, "transcription", arguments={"stream": True})
    assert [line["event"] for line in lines[:-1]] == [delta, done]
    *_, last = await nodes.drive(node, gateway.base_url, "transcription", arguments={"stream": True})
    assert last["error"]["apiError"]


async def test_speech_is_heard_while_it_is_made(start, node):
    heard = trio.Event()
    head = answers.head(200, ("Content-Type", "audio/mpeg"), ("Transfer-Encoding", "chunked"))
    _, gateway = await start([head, chunked(bytes(5000)), heard, chunked(bytes(300)) + LAST])
    *_, last = await nodes.drive(node, gateway.base_url, "speech", lambda line: heard.set())
    assert last == {"result": 5300, "type": "audio/mpeg"}


async def test_moderations(start, node):
    told = {"id": "modr-1", "model": "tiny", "results": [{"flagged": False}]}
    _, gateway = await start([reply(told)], lines=['speaks = ["moderations"]'])
    [line] = await nodes.drive(node, gateway.base_url, "moderation", arguments={"model": "local/tiny"})
    assert line["result"]["results"] == told["results"]
    [line] = await nodes.drive(node, gateway.base_url, "embeddings", input="a")
    assert (line["error"]["status"], line["error"]["code"]) == (404, "unsupported_endpoint")
