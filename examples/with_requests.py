"""requests: a tool call, put together from the fragments in which models stream it.

    pip install requests
    python examples/with_requests.py                                           # plays a recorded stream to itself
    OPENAI_API_KEY=... python examples/with_requests.py https://api.openai.com gpt-4o-mini

`iter_content` gives the bytes as they come. (`iter_lines` would not do: of a CRLF that is cut in two it makes two line
ends, which end an event too early, and with `decode_unicode` it takes U+2028 and U+0085 for line ends as well.)
"""

from __future__ import annotations

import json
import os
from typing import Any

import requests

import demo_upstream
from penstock.protocol import chat
from penstock.protocol.dialects import openai

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of the next days",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["place", "days"],
        },
    },
}


def ask(url: str, request: chat.Request) -> chat.Answer | chat.Failed:
    """The whole answer, put together from its stream."""
    headers = {"content-type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["authorization"] = f"Bearer {key}"
    decoder, whole = openai.StreamDecoder(), chat.Accumulator()
    body = openai.encode_request(request)
    with requests.post(f"{url}/v1/chat/completions", body, headers=headers, stream=True, timeout=60) as response:
        if response.status_code != 200:
            return openai.decode_error(response.status_code, response.headers.items(), response.content)
        for chunk in response.iter_content(chunk_size=None):
            whole.feed(decoder.feed(chunk))
            if decoder.ended:
                break
        whole.feed(decoder.close())
    return decoder.failed or whole.answer()


def main(url: str, model: str) -> None:
    question = {"role": "user", "content": "Do I need an umbrella in Київ this week?"}
    answer = ask(url, chat.Request(model, [question], stream=True, tools=[WEATHER]))
    if isinstance(answer, chat.Failed):
        print(f"failed: {answer.message}")
        return
    for choice in answer.choices:
        if choice.text:
            print(choice.text)
        for call in choice.tool_calls:
            arguments = ", ".join(f"{name}={value!r}" for name, value in json.loads(call.arguments).items())
            print(f"{call.name}({arguments})")
        print(f"finished: {choice.reason}")


if __name__ == "__main__":
    with demo_upstream.target() as (url, model):
        main(url, model)
