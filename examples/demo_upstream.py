"""A tiny model server for the other examples: whatever it is asked, it plays a recorded stream.

    python examples/demo_upstream.py        # says its address, and serves until Ctrl-C

It answers as an OpenAI-compatible server (`/v1/chat/completions`) and as Ollama (`/api/chat`), and calls a tool if it
is offered one. It is unkind on purpose: a piece of its answer is seven bytes, so that lines, JSON and characters are
cut anywhere.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from penstock.protocol import chunked, ndjson, sse

PIECE = 7
WORDS = ["Привіт", ", ", "বাংলা", " 👋"]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def openai(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One event of OpenAI's stream."""
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": "demo"}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse.encode(sse.Event(json.dumps({**chunk, "choices": [choice], **more}, ensure_ascii=False)))


def openai_call(arguments: str, **first: Any) -> bytes:
    """A fragment of a tool call."""
    return openai({"tool_calls": [{"index": 0, "function": {"arguments": arguments}, **first}]})


def ollama(content: str, **more: Any) -> bytes:
    """One line of Ollama's stream."""
    line = {"model": "demo", "created_at": "2025-10-09T08:53:20Z", "message": {"role": "assistant", "content": content}}
    return ndjson.encode({**line, "done": False, **more})


DONE = sse.encode(sse.Event("[DONE]"))
TEXT = [openai({"content": word}) for word in WORDS]
TOOL = [openai({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": ""}}]})]
TOOL += [openai_call(fragment) for fragment in ('{"place": "Ки', 'їв 🌧", "days', '": 3}')]
LINES = [ollama(word) for word in WORDS]

OPENAI_TEXT = b"".join([*TEXT, openai({}, "stop", usage=USAGE), DONE])
OPENAI_TOOL = b"".join([*TOOL, openai({}, "tool_calls", usage=USAGE), DONE])
OLLAMA_TEXT = b"".join([*LINES, ollama("", done=True, done_reason="stop", prompt_eval_count=9, eval_count=4)])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(ConnectionError):  # clients leave when they like
            super().handle()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/api/chat":
            self.play("application/x-ndjson", OLLAMA_TEXT)
        elif self.path == "/v1/chat/completions":
            self.play("text/event-stream", OPENAI_TOOL if asked.get("tools") else OPENAI_TEXT)
        else:
            self.send_error(404)

    def play(self, content_type: str, stream: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for at in range(0, len(stream), PIECE):
            self.wfile.write(chunked.encode(stream[at : at + PIECE]))
        self.wfile.write(chunked.LAST)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def target() -> Iterator[tuple[str, str]]:
    """The address and the model on the command line; without them a server of our own, while the block runs."""
    if len(sys.argv) == 3:
        yield sys.argv[1].rstrip("/"), sys.argv[2]
        return
    if len(sys.argv) != 1:
        sys.exit(f"usage: {sys.argv[0]} [URL MODEL], as in: {sys.argv[0]} http://127.0.0.1:8777 echo/echo")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", "demo"
        finally:
            server.shutdown()


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
