"""The `openai` package beside the chat: embeddings, recordings, speech, moderations, images, through a gateway."""

import io
from contextlib import contextmanager

import openai
import pytest
import trio

import answers
from answers import LAST, chunked, reply, sse

OPTIONS = {"api_key": "sk-client", "timeout": 10.0, "max_retries": 0}
VECTOR = [0.25, -0.5, 3.0]
PACKED = "AACAPgAAAL8AAEBA"
SOUND = bytes(range(256)) * 100
TRANSCRIPT = {"text": "Привет", "usage": {"type": "tokens", "input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}


@contextmanager
def sdk(gateway):
    with openai.OpenAI(base_url=gateway.base_url, **OPTIONS) as client:
        yield client


async def in_thread(call, /, **arguments):
    return await trio.to_thread.run_sync(lambda: call(**arguments), abandon_on_cancel=True)


def embedded(embedding):
    data = [{"object": "embedding", "index": 0, "embedding": embedding}]
    return reply({"object": "list", "data": data, "model": "tiny", "usage": {"prompt_tokens": 1, "total_tokens": 1}})


@pytest.mark.parametrize("told", [VECTOR, PACKED], ids=["the upstream has numbers", "the upstream has base64"])
@pytest.mark.parametrize("said", ["Привет", ["a", "b"], [1, 2], [[1], [2]]], ids=str)
async def test_c87_embeddings_are_the_same_by_default_and_as_numbers(start, told, said):
    upstream, gateway = await start(always=[embedded(told)])
    with sdk(gateway) as client:
        for asked in ({}, {"encoding_format": "float"}):
            found = await in_thread(client.embeddings.create, model="local/tiny", input=said, dimensions=3, **asked)
            assert found.data[0].embedding == VECTOR
            assert found.usage.prompt_tokens == 1
    assert upstream.requests[0].json["encoding_format"] == "base64"  # what the SDK asks for by itself
    assert upstream.requests[0].json["input"] == said


async def test_embeddings_of_the_echo(start):
    _, gateway = await start()
    with sdk(gateway) as client:
        plain = await in_thread(client.embeddings.create, model="echo", input="Hi", encoding_format="float")
        packed = await in_thread(client.embeddings.create, model="echo", input="Hi")
    assert plain.data[0].embedding == packed.data[0].embedding
    assert len(plain.data[0].embedding) == 64


async def test_async_embeddings_and_a_transcription(start):
    _, gateway = await start([embedded(VECTOR)], [reply(TRANSCRIPT)])
    async with openai.AsyncOpenAI(base_url=gateway.base_url, **OPTIONS) as client:
        found = await client.embeddings.create(model="local/tiny", input="a")
        assert found.data[0].embedding == VECTOR
        told = await client.audio.transcriptions.create(model="local/tiny", file=("a.wav", SOUND))
        assert told.text == "Привет"


async def test_a_transcription_keeps_the_files_name_and_bytes(start):
    upstream, gateway = await start([reply(TRANSCRIPT)])
    recording = io.BytesIO(SOUND)
    recording.name = "запись 1.wav"
    with sdk(gateway) as client:
        more = {"language": "ru", "timestamp_granularities": ["word"], "temperature": 0.5}
        found = await in_thread(client.audio.transcriptions.create, model="local/tiny", file=recording, **more)
    assert (found.text, found.usage.total_tokens) == ("Привет", 3)
    asked = await upstream.request()
    assert SOUND in asked.body
    assert b'name="model"\r\n\r\ntiny\r\n' in asked.body
    assert b'name="timestamp_granularities[]"\r\n\r\nword\r\n' in asked.body
    assert b"filename" in asked.body


@pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
async def test_a_transcript_as_text(start, kind):
    said = "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nПривет\n\n"
    _, gateway = await start([reply(said, content_type="text/plain; charset=utf-8")])
    with sdk(gateway) as client:
        create = client.audio.transcriptions.create
        assert await in_thread(create, model="local/tiny", file=("a.wav", SOUND), response_format=kind) == said


async def test_a_streamed_transcript(start):
    delta = {"type": "transcript.text.delta", "delta": "Прив"}
    done = {"type": "transcript.text.done", "text": "Привет"}
    _, gateway = await start([answers.STREAM, chunked(sse(delta)), chunked(sse(done)), LAST])

    def read():
        with sdk(gateway) as client:
            stream = client.audio.transcriptions.create(model="local/tiny", file=("a.wav", SOUND), stream=True)
            return [event.type for event in stream]

    assert await in_thread(read) == ["transcript.text.delta", "transcript.text.done"]


async def test_a_streamed_transcript_that_breaks_off_raises(start):
    delta = {"type": "transcript.text.delta", "delta": "Прив"}
    _, gateway = await start([answers.STREAM, chunked(sse(delta)), LAST])

    def read():
        with sdk(gateway) as client:
            stream = client.audio.transcriptions.create(model="local/tiny", file=("a.wav", SOUND), stream=True)
            list(stream)

    with pytest.raises(openai.APIError):
        await in_thread(read)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's word on its own method
async def test_a_translation(start):
    upstream, gateway = await start([reply({"text": "Hello"})])
    with sdk(gateway) as client:
        found = await in_thread(client.audio.translations.create, model="local/tiny", file=("a.wav", SOUND))
    assert found.text == "Hello"
    assert (await upstream.request()).target == "/v1/audio/translations"


async def test_speech_is_heard_while_it_is_made(start):
    heard = trio.Event()
    head = answers.head(200, ("Content-Type", "audio/mpeg"), ("Transfer-Encoding", "chunked"))
    upstream, gateway = await start([head, chunked(SOUND), heard, chunked(SOUND) + LAST])

    def read():
        with sdk(gateway) as client:
            make = client.audio.speech.with_streaming_response.create
            with make(model="local/tiny", voice="alloy", input="Привет") as response:
                pieces = response.iter_bytes(len(SOUND))
                first = next(pieces)
                trio.from_thread.run_sync(heard.set)
                return response.headers["content-type"], first + b"".join(pieces)

    assert await trio.to_thread.run_sync(read) == ("audio/mpeg", SOUND * 2)
    assert (await upstream.request()).json["voice"] == "alloy"


async def test_moderations_and_images(start):
    result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    images = {"created": 1, "data": [{"b64_json": "AAAA"}]}
    told = [reply({"id": "modr-1", "model": "tiny", "results": [result]}), reply(images), reply(images)]
    upstream, gateway = await start(*[[one] for one in told])
    with sdk(gateway) as client:
        found = await in_thread(client.moderations.create, model="local/tiny", input=["a"])
        assert not found.results[0].flagged
        made = await in_thread(client.images.generate, model="local/tiny", prompt="a cat")
        assert made.data[0].b64_json == "AAAA"
        edit = {"image": ("a.png", b"\x89PNG"), "prompt": "a hat"}
        assert (await in_thread(client.images.edit, model="local/tiny", **edit)).created == 1
    assert [one.target for one in upstream.requests] == [
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/images/edits",
    ]


async def test_what_no_provider_has_is_an_error_that_is_not_retried(start):
    _, gateway = await start(lines=['speaks = ["openai"]'])
    with sdk(gateway) as client, pytest.raises(openai.NotFoundError) as caught:
        await in_thread(client.with_options(max_retries=2).moderations.create, model="local/tiny", input="a")
    assert caught.value.code == "unsupported_endpoint"
