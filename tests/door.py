"""Requests as bytes, for what a well-behaved client would not send, and the judgement of refusals.

client = rig.connect()
await client.raw(request("POST", "/v1/chat/completions", "Transfer-Encoding: chunked") + b"5\\r\\nhel")
client.expect()
refused(await client.answer(), 408, "request_timeout", "timeout_error")
await ended(client)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from answers import completion, reply
from rig import Answer, Client
from scripted import Script

__all__ = ["ANSWER", "CHAT", "PATH", "ended", "refused", "request"]

PATH = "/v1/chat/completions"
CHAT = json.dumps({"model": "up/tiny", "messages": [{"role": "user", "content": "Hi"}]}).encode()
ANSWER: Script = [reply(completion())]
"""What an upstream says that is asked for CHAT."""


def request(method: str = "POST", target: str = PATH, *fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """A request with a Host, these lines, and a Content-Length if there is a body."""
    lines = [f"{method} {target} HTTP/{version}", "Host: 127.0.0.1:8777", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def refused(answer: Answer, status: int, code: str, type: str = "invalid_request_error") -> Mapping[str, Any]:
    """Assert that the answer is this refusal, in the shape that every OpenAI client reads; return its error."""
    assert (answer.status, answer.error["code"], answer.error["type"]) == (status, code, type), answer.body
    assert answer.json.keys() == {"error"}
    assert answer.error.keys() == {"message", "type", "param", "code"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    return answer.error


async def ended(client: Client) -> None:
    """Assert that the gateway says nothing more and has closed its side."""
    assert await client.stream.receive() == b""
