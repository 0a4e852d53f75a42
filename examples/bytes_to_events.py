"""No I/O at all: bytes in, events out; and bytes in, another dialect's bytes out.

    python examples/bytes_to_events.py

A decoder is something with two methods: `feed` takes the bytes that came and returns what became complete, `close`
says that no more will come. Both functions below are plain generators, so that anything that can be iterated can
drive them: a file, a socket, a queue, a test. The recorded stream is cut after each byte, through all its characters,
and comes out the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.protocol import chat
from penstock.protocol.dialects import openai
from penstock.protocol.relay import Relay

RECORDED = """\
: a comment, as some servers send it while one waits

data: {"id":"chatcmpl-1","model":"tiny","created":1760000000,"choices":[{"index":0,"delta":{"role":"assistant"}}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"reasoning_content":"Greet in two scripts."}}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Привіт, "}}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"বাংলা 👋"}}]}

data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}

data: [DONE]

""".encode()


def events(chunks: Iterable[bytes]) -> Iterator[chat.Event]:
    """What an OpenAI-compatible server says. The last event is `End`, or `Failed` for whatever went wrong."""
    decoder = openai.StreamDecoder()
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.close()


def translated(chunks: Iterable[bytes], source: str, sink: str) -> Iterator[bytes]:
    """The same answer in another dialect, in whole frames. Raises RuntimeError if the answer is not whole."""
    relay = Relay(source, sink, include_usage=True)
    for chunk in chunks:
        if frames := relay.feed(chunk):
            yield frames
    if frames := relay.close():
        yield frames
    if relay.failed is not None:
        raise RuntimeError(relay.failed.message)


def main() -> None:
    one_by_one = [bytes([byte]) for byte in RECORDED]

    print("As events:")
    for event in events(one_by_one):
        print("   ", event)
    assert list(events(one_by_one)) == list(events([RECORDED]))

    print("As Ollama would have said it:")
    for frames in translated(one_by_one, "openai", "ollama"):
        print("   ", frames.decode().rstrip("\n"))

    print("With its second half lost:")
    *_, last = events([RECORDED[: len(RECORDED) // 2]])
    assert isinstance(last, chat.Failed)
    print("   ", last.message)


if __name__ == "__main__":
    main()
