"""Threads and `urllib`: one question to two kinds of server at once, and the same few lines for both.

    python examples/with_threads.py                                        # plays recorded streams to itself
    python examples/with_threads.py http://127.0.0.1:11434 llama3.2        # asks Ollama, which speaks both

OpenAI's stream is server-sent events, Ollama's is NDJSON, and they share not one field. Each is a row of
`dialects.DIALECTS`: a row knows how to write a request and how to read a stream, and the events that come out are the
same, so that `Accumulator` can put together either.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import demo_upstream
from penstock.protocol import chat
from penstock.protocol.dialects import DIALECTS, openai

PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}


def ask(url: str, name: str, request: chat.Request) -> chat.Answer | chat.Failed:
    """The whole answer, put together from its stream."""
    dialect = DIALECTS[name]
    decoder = dialect.decoder(dialect.framing)
    whole = chat.Accumulator()
    post = Request(url + PATHS[name], dialect.encode_request(request), {"content-type": "application/json"})
    try:
        with urlopen(post, timeout=60) as response:
            while not decoder.ended and (data := response.read1(65536)):
                whole.feed(decoder.feed(data))
            whole.feed(decoder.close())
    except HTTPError as refused:
        return openai.decode_error(refused.code, refused.headers.items(), refused.read())
    return decoder.failed or whole.answer()


def main(url: str, model: str) -> None:
    question = {"role": "user", "content": "Привіт, বাংলা 👋"}
    request = chat.Request(model, [question], stream=True, include_usage=True)
    with ThreadPoolExecutor() as pool:
        answers = pool.map(lambda name: ask(url, name, request), PATHS)
    for name, answer in zip(PATHS, answers, strict=True):
        if isinstance(answer, chat.Failed):
            print(f"{name}: failed: {answer.message}")
        else:
            [choice] = answer.choices
            print(f"{name}: {choice.text} ({choice.reason}, {answer.usage.total if answer.usage else '?'} tokens)")


if __name__ == "__main__":
    with demo_upstream.target() as (url, model):
        main(url, model)
