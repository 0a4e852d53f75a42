"""Does the generator notice? A server that gives known wrong answers, and what `load` must say of each.

    python bench/check.py

A benchmark that counts wrong answers as served is worth nothing, so this is run before figures are believed. One right
answer is taken from the fake upstream, spoilt in one way, and served; `load` must name that fault. Answers that only
look different (other cuts, line ends, escapes) must pass. Then relays that are late, and that never pass on that their
client has gone.
"""

import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import machine

Spoil = Callable[[bytes], bytes]
TOKENS = 40
DONE = b"data: [DONE]\n\n"


def frame(body: bytes, size: int = 700) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def stream(body: bytes, status: str = "200 OK", kind: str = "text/event-stream") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode() + frame(body)


def whole(body: bytes, length: int | None = None) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def drop_event(body: bytes, containing: str) -> bytes:
    events = body.split(b"\n\n")
    return b"\n\n".join(event for event in events if containing.encode() not in event)


def twice(body: bytes, containing: str) -> bytes:
    events = body.split(b"\n\n")
    where = next(i for i, event in enumerate(events) if containing.encode() in event)
    return b"\n\n".join(events[: where + 1] + events[where:])


def swap(body: bytes, old: str | bytes, new: str | bytes) -> bytes:
    old, new = (text.encode() if isinstance(text, str) else text for text in (old, new))
    assert old in body, old
    return body.replace(old, new, 1)


def escaped(body: bytes) -> bytes:
    """Every character outside ASCII as \\u escapes: other bytes, the same answer."""
    return re.sub("[^\0-\x7f]", lambda m: json.dumps(m[0])[1:-1], body.decode()).encode()


ERROR = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
STREAMED: list[tuple[str, str, Spoil]] = [
    ("untouched", "right", stream),
    ("CRLF at line ends", "right", lambda b: stream(b.replace(b"\n", b"\r\n"))),
    ("comments between events", "right", lambda b: stream(b.replace(b"\n\n", b"\n\n: still here\n\n"))),
    ("\\u escapes", "right", lambda b: stream(escaped(b))),
    ("JSON with spaces", "right", lambda b: stream(b.replace(b'":', b'" : '))),
    ("one letter", "content", lambda b: stream(swap(b, "течёт", "тячёт"))),
    ("one event lost", "content", lambda b: stream(drop_event(b, "水流"))),
    ("one event twice", "content", lambda b: stream(twice(b, "水流"))),
    ("half a character", "content", lambda b: stream(swap(b, "🌊".encode(), b"\xf0\x9f??"))),
    ("no end marker", "truncated", lambda b: stream(b.removesuffix(DONE))),
    ("no finish reason", "truncated", lambda b: stream(drop_event(b, '"stop"'))),
    ("last blank line missing", "truncated", lambda b: stream(b[:-1])),
    ("body cut", "truncated", lambda b: stream(b)[: len(b) // 2]),
    ("text after the end marker", "sse", lambda b: stream(b + b.split(b"\n\n")[0] + b"\n\n")),
    ("blank line lost", "sse", lambda b: stream(swap(b, b"\n\n", b"\n"))),
    ("not SSE", "sse", lambda b: stream(b"<html>\n" + b)),
    ("bad JSON", "json", lambda b: stream(swap(b, '"index":0', '"index"=0'))),
    ("leading zero", "json", lambda b: stream(swap(b, '"index":0', '"index":00'))),
    ("error event", "in_band", lambda b: stream(b.removesuffix(DONE) + ERROR + DONE)),
    ("bad chunk size", "http", lambda b: swap(stream(b), b"\r\n\r\n2", b"\r\n\r\nz")),
    ("chunk too long", "http", lambda b: swap(stream(b), b"2bc\r\n", b"2bb\r\n")),
    ("bytes after the body", "http", lambda b: stream(b) + b"x"),
    ("no HTTP", "http", lambda b: b"hello\r\n\r\n"),
    ("error status", "status", lambda b: stream(b"{}", "503 Service Unavailable", "application/json")),
    ("wrong type", "type", lambda b: stream(b, kind="application/json")),
    ("closed at once", "reset", lambda b: b""),
]
WHOLE: list[tuple[str, str, Spoil]] = [
    ("whole, untouched", "right", whole),
    ("whole, \\u escapes", "right", lambda b: whole(escaped(b))),
    ("whole, one letter", "content", lambda b: whole(swap(b, "течёт", "тячёт"))),
    ("whole, bad JSON", "json", lambda b: whole(b[:-1])),
    ("whole, cut", "truncated", lambda b: whole(b[:-9], len(b))),
    ("whole, no finish reason", "truncated", lambda b: whole(swap(b, '"stop"', "null"))),
]


def read_request(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def serving(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on a port of its own; each connection in a thread that ends with it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def connection(sock: socket.socket) -> None:
        with closing(sock):
            try:
                handle(sock)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(20)
            threading.Thread(target=connection, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def load(mode: str, port: int, upstream: int, model: str, *more: str) -> dict:
    command = [str(machine.HERE / "bin" / "load"), mode, "--to", f"127.0.0.1:{port}", "--model", model]
    command += ["--upstream", f"127.0.0.1:{upstream}", *more]
    return json.loads(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)


def true_answer(upstream: int, streamed: bool) -> bytes:
    """The body of a right answer, its transfer coding off."""
    body = json.dumps({"model": f"sim-tokens{TOKENS}", "stream": streamed}, separators=(",", ":"))
    with socket.create_connection(("127.0.0.1", upstream)) as sock:
        sock.sendall(f"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        data = b""
        while not data.endswith((b"\r\n0\r\n\r\n", b'"}')):
            data += sock.recv(65536)
    answer = data.partition(b"\r\n\r\n")[2]
    return b"".join(re.findall(rb"(?s)[0-9a-f]+\r\n(data: .*?\n\n)\r\n", answer)) if streamed else answer


def canned(data: bytes, size: int, *, closes: bool) -> Callable[[socket.socket], None]:
    """Answers every request with the same bytes, in pieces."""

    def handle(sock: socket.socket) -> None:
        while read_request(sock):
            for i in range(0, len(data), size):
                sock.sendall(data[i : i + size])
            if closes:
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)
                return

    return handle


def check_faults(upstream: int) -> Iterator[tuple[str, str, str]]:
    for streamed, cases in ((True, STREAMED), (False, WHOLE)):
        answer = true_answer(upstream, streamed)
        for name, wanted, spoil in cases:
            for size in (1 << 20, 7, 1) if wanted == "right" else (1 << 20, 101):
                with serving(canned(spoil(answer), size, closes=wanted != "right")) as port:
                    more = ["--each", "2", "--seconds", "5", "--grace", "2"] + ["--stream"] * streamed
                    result = load("run", port, upstream, f"sim-tokens{TOKENS}", *more)
                said = "right" if result["requests"] == 2 and not result["faults"] else "+".join(result["faults"])
                yield f"{name}, in pieces of {size}", wanted, said


def relay(upstream: int, delay: float = 0, deaf: bool = False) -> Callable[[socket.socket], None]:
    """Passes bytes on; late, or (deaf) without ever telling the upstream that the client has gone."""

    def handle(client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", upstream), timeout=20)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def back() -> None:
            try:
                while data := server.recv(65536):
                    time.sleep(delay)
                    client.sendall(data)
            except OSError:
                pass

        threading.Thread(target=back, daemon=True).start()
        while request := client.recv(65536):
            server.sendall(request)
        if deaf:
            KEPT.append(server)
        else:
            server.shutdown(socket.SHUT_RDWR)
            server.close()

    return handle


KEPT: list[socket.socket] = []


def check_times(upstream: int) -> Iterator[tuple[str, str, str]]:
    stamped = ["--stream", "--each", "1", "--seconds", "5"]
    with serving(relay(upstream, delay=0.02)) as port:
        result = load("run", port, upstream, "sim-tokens20-gap50000-first50000-stamp", *stamped)
    added = [result[key]["p50_us"] for key in ("first_added", "token_added")]
    yield "a relay that is 20 ms late", "late", "late" if all(20000 < a < 45000 for a in added) else f"{added}"
    streams = [
        ("between tokens", "sim-tokens1000-gap20000", ["--stream", "--events", "3"]),
        ("before the first byte", "sim-tokens9-first9000000-late", ["--stream", "--events", "0"]),
        ("before a whole answer", "sim-tokens9-first9000000", ["--events", "0"]),
    ]
    for name, model, more in streams:
        with serving(relay(upstream)) as port:
            result = load("leave", port, upstream, model, *more, "--trials", "3")
        seen = result.get("seen_after", {}).get("count", 0)
        said = "seen" if (seen, result["missed"], result["left_open"]) == (3, 0, 0) else json.dumps(result)
        yield f"client leaves {name}", "seen", said
    with serving(relay(upstream, deaf=True)) as port:
        result = load("leave", port, upstream, *streams[1][1:2], *streams[1][2], "--trials", "3")
    said = "not seen" if (result["missed"], result["left_open"]) == (3, 3) else json.dumps(result)
    yield "client leaves a relay that is deaf", "not seen", said
    for sock in KEPT:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def check_silence(upstream: int) -> Iterator[tuple[str, str, str]]:
    with serving(lambda sock: (read_request(sock), sock.recv(1))) as port:
        result = load("run", port, upstream, "sim", "--each", "1", "--seconds", "0.2", "--grace", "0.5")
    yield "no answer at all", "timeout", "+".join(result["faults"]) or "right"


def main() -> int:
    machine.build()
    upstream = subprocess.Popen([str(machine.HERE / "bin" / "upstream"), "120"], stdout=subprocess.PIPE, text=True)
    port = int(upstream.stdout.readline())
    checked = wrong = 0
    try:
        for check in (check_faults, check_silence, check_times):
            for name, wanted, said in check(port):
                checked += 1
                if said != wanted:
                    wrong += 1
                    print(f"NOT NOTICED  {name}: should be {wanted}, load said {said}")
    finally:
        machine.stop(upstream)
    print(f"{checked} answers judged, {wrong} wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
