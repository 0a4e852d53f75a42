"""What the protocol core costs, against the least that any parser does, and against other parsers where installed.

    python bench/parse.py [--rounds 9] [--events 20000] [--out results.json]

20,000 chat chunks of about 290 bytes in pieces of 1460 bytes (a TCP segment) and of 64 KiB. All contenders of a
group run in turn, round after round, with the collector off; figures are CPU time of this process, medians over the
rounds; a ratio is the median of the rounds' ratios to the floor of its group, with the least and the most.
"""

import argparse
import codecs
import gc
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from penstock.protocol import ndjson, relay, sse

Run = Callable[[list[bytes]], int]
WORDS = ["Вода", " течёт", " নদীর", " জল", "水流", "。", " 🌊", " a", ' \\"gate\\"', "\\n", " naïve", " tokens"]
PIECES = (1460, 65536)
BIG = 4 * 1024 * 1024


@dataclass(frozen=True)
class Contender:
    name: str
    run: Run
    floor: bool = False
    relays: bool = False  # it returns bytes written; the others return events found


def openai_frames(count: int) -> list[bytes]:
    head = '{"id":"chatcmpl-C7xQm2vT9bLw4RkZs8YpNcHdJ1fGa","object":"chat.completion.chunk","created":1763650000,'
    head += '"model":"gpt-sim-2025-11-20","service_tier":"default","system_fingerprint":"fp_7c2d19e5ab",'
    tail = '"},"logprobs":null,"finish_reason":null}]}'
    return [
        f'{head}"choices":[{{"index":0,"delta":{{"content":"{WORDS[k % len(WORDS)]}{tail}'.encode()
        for k in range(count)
    ]


def ollama_frames(count: int) -> list[bytes]:
    head = '{"model":"tiny:latest","created_at":"2025-11-20T12:00:00.123456Z","message":{"role":"assistant","content":"'
    return [f'{head}{WORDS[k % len(WORDS)]}"}},"done":false}}'.encode() for k in range(count)]


def sse_body(frames: list[bytes]) -> bytes:
    finish = frames[0].partition(b'"choices"')[0] + b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    return b"".join(b"data: %s\n\n" % frame for frame in [*frames, finish, b"[DONE]"])


def ndjson_body(frames: list[bytes]) -> bytes:
    end = (
        b'{"model":"tiny:latest","created_at":"2025-11-20T12:00:01.000000Z","message":{"role":"assistant","content":""},'
        b'"done":true,"done_reason":"stop","total_duration":9,"load_duration":1,"prompt_eval_count":21,'
        b'"prompt_eval_duration":1,"eval_count":20000,"eval_duration":7}'
    )
    return b"".join(frame + b"\n" for frame in [*frames, end])


def anthropic_body(count: int) -> bytes:
    head = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    head += '"delta":{"type":"text_delta","text":"'
    begin = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message",'
        b'"role":"assistant","model":"claude-sim","content":[],"stop_reason":null,"usage":{"input_tokens":21,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n'
    )
    end = (
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
        b'"usage":{"output_tokens":20000}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    return begin + b"".join(f'{head}{WORDS[k % len(WORDS)]}"}}}}\n\n'.encode() for k in range(count)) + end


def responses_body(count: int) -> bytes:
    name = "response.output_text.delta"
    head = f'event: {name}\ndata: {{"type":"{name}","item_id":"msg_68a1f0c2d4e6481a9b3c","output_index":0,'
    head += '"content_index":0,"delta":"'
    tail = '","logprobs":[],"obfuscation":"Zx81kQ","sequence_number":'
    end = (
        b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1","object":"response",'
        b'"created_at":1763650000,"model":"gpt-sim","status":"completed","output":[],'
        b'"usage":{"input_tokens":21,"output_tokens":20000,"total_tokens":20021}}}\n\n'
    )
    return b"".join(f"{head}{WORDS[k % len(WORDS)]}{tail}{k}}}\n\n".encode() for k in range(count)) + end


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


def split_on(mark: bytes) -> Run:
    def run(pieces: list[bytes]) -> int:
        held, count = b"", 0
        for piece in pieces:
            *whole, held = (held + piece).split(mark)
            count += len(whole)
        return count

    return run


def loads_dumps(mark: bytes, head: bytes) -> Run:
    """Parse each frame that begins with `head` and write it again: what a translation costs at least, with the
    standard library's JSON."""
    prefix = len(head)

    def run(pieces: list[bytes]) -> int:
        held, count = b"", 0
        for piece in pieces:
            *whole, held = (held + piece).split(mark)
            for frame in whole:
                if frame.startswith(head) and not frame.endswith(b"[DONE]"):
                    json.dumps(json.loads(frame[prefix:]), ensure_ascii=False, separators=(",", ":")).encode()
            count += len(whole)
        return count

    return run


def machine(make: Callable[[], object]) -> Run:
    def run(pieces: list[bytes]) -> int:
        decoder = make()
        feed, count = decoder.feed, 0
        for piece in pieces:
            count += len(feed(piece))
        return count + len(decoder.close())

    return run


def relayed(source: str, sink: str, content_type: str) -> Run:
    def run(pieces: list[bytes]) -> int:
        through = relay.Relay(source, sink, content_type=content_type)
        count = sum(map(len, map(through.feed, pieces))) + len(through.close())
        if through.failed is not None or through.ending is None:
            raise SystemExit(f"the relay {source} to {sink} failed: {through.failed}")
        return count

    return run


def httpx_sse(pieces: Iterable[bytes]) -> int:
    from httpx_sse._decoders import SSEDecoder, SSELineDecoder

    text, lines, events, count = codecs.getincrementaldecoder("utf-8")("replace"), SSELineDecoder(), SSEDecoder(), 0
    for piece in pieces:
        for line in lines.decode(text.decode(piece)):
            count += events.decode(line.rstrip("\n")) is not None
    return count


def launchdarkly(pieces: Iterable[bytes]) -> int:
    from ld_eventsource.reader import _BufferedLineReader, _SSEReader

    return sum(1 for _ in _SSEReader(_BufferedLineReader.lines_from(pieces)).events_and_comments())


def installed(name: str, module: str, run: Run) -> list[Contender]:
    return [Contender(name, run)] if importlib.util.find_spec(module) else []


def groups() -> dict[str, tuple[Callable[[int], bytes], list[Contender]]]:
    openai, ollama = "text/event-stream", "application/x-ndjson"
    parsed = "incremental split, json.loads and dumps"
    return {
        "SSE": (
            lambda count: sse_body(openai_frames(count)),
            [
                Contender('incremental split(b"\\n\\n")', split_on(b"\n\n"), floor=True),
                Contender("sse.Decoder", machine(sse.Decoder)),
                Contender("relay openai to openai", relayed("openai", "openai", openai), relays=True),
                *installed("httpx-sse", "httpx_sse", httpx_sse),
                *installed("launchdarkly-eventsource", "ld_eventsource", launchdarkly),
            ],
        ),
        "NDJSON": (
            lambda count: ndjson_body(ollama_frames(count)),
            [
                Contender(parsed, loads_dumps(b"\n", b""), floor=True),
                Contender('incremental split(b"\\n")', split_on(b"\n")),
                Contender("ndjson.Decoder", machine(ndjson.Decoder)),
                Contender("relay ollama to openai", relayed("ollama", "openai", ollama), relays=True),
            ],
        ),
        "SSE to NDJSON": (
            lambda count: sse_body(openai_frames(count)),
            [
                Contender(parsed, loads_dumps(b"\n\n", b"data: "), floor=True),
                Contender("relay openai to ollama", relayed("openai", "ollama", openai), relays=True),
            ],
        ),
        "Anthropic's SSE": (
            anthropic_body,
            [
                Contender(parsed, loads_dumps(b"\n\n", b"event: content_block_delta\ndata: "), floor=True),
                Contender("relay anthropic to openai", relayed("anthropic", "openai", openai), relays=True),
            ],
        ),
        "SSE of the Responses API": (
            responses_body,
            [
                Contender(parsed, loads_dumps(b"\n\n", b"event: response.output_text.delta\ndata: "), floor=True),
                Contender("relay responses to openai", relayed("responses", "openai", openai), relays=True),
            ],
        ),
    }


def timed(run: Run, pieces: list[bytes]) -> tuple[float, int]:
    gc.collect()
    gc.disable()
    begun = time.process_time()
    count = run(pieces)
    spent = time.process_time() - begun
    gc.enable()
    return spent, count


def rounds_of(contenders: list[Contender], pieces: list[bytes], rounds: int, events: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders:
            seconds, count = timed(contender.run, pieces)
            if count != events and not contender.relays:
                raise SystemExit(f"{contender.name} found {count} events of {events}")
            if number:  # the first round warms up
                spent[contender.name].append(seconds)
    return spent


def one_big_event(rounds: int) -> dict[str, list[float]]:
    """A single event of 4 MiB in segments: linear parsers take milliseconds, others minutes."""
    pieces = cut(b"data: " + b"x" * BIG + b"\n\n", 1460)
    return {"sse.Decoder": [timed(machine(sse.Decoder), pieces)[0] for _ in range(rounds)]}


def import_seconds(rounds: int) -> float:
    """CPU of `import penstock.protocol` in a new interpreter, less that of an empty one."""

    def spent(code: str) -> float:
        code = f"import time; begun = time.process_time(); {code}; print(time.process_time() - begun)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    return statistics.median(spent("import penstock.protocol") for _ in range(rounds))


def table(title: str, body: bytes, events: int, size: int, contenders: list[Contender], spent: dict) -> list[str]:
    floor = next(contender.name for contender in contenders if contender.floor)
    lines = ["", f"| {title}, {size}-byte pieces | us an event | MB/s | x floor |", "|---|---:|---:|---:|"]
    for name, seconds in spent.items():
        middle = statistics.median(seconds)
        over = [one / base for one, base in zip(seconds, spent[floor], strict=True)]
        ratio = "1" if name == floor else f"{statistics.median(over):.2f} ({min(over):.2f}–{max(over):.2f})"
        mark = " (floor)" if name == floor else ""
        lines.append(f"| {name}{mark} | {middle * 1e6 / events:.2f} | {len(body) / middle / 1e6:,.0f} | {ratio} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--events", type=int, default=20000)
    parser.add_argument("--out", type=pathlib.Path, help="every round's seconds, as JSON")
    chosen = parser.parse_args()
    results: dict[str, dict] = {}
    lines = [f"{chosen.events} events, {chosen.rounds} rounds, Python {sys.version.split()[0]}, CPU time"]
    for title, (make, contenders) in groups().items():
        body = make(chosen.events)
        for size in PIECES:
            print(f"{title}, pieces of {size} bytes …", file=sys.stderr, flush=True)
            events = body.count(b"\n\n") or body.count(b"\n")
            spent = rounds_of(contenders, cut(body, size), chosen.rounds, events)
            results[f"{title} {size}"] = spent
            lines += table(title, body, chosen.events, size, contenders, spent)
    big = one_big_event(3)
    imported = import_seconds(5)
    results |= {"4 MiB event 1460": big, "import": {"penstock.protocol": [imported]}}
    middle = statistics.median(big["sse.Decoder"])
    lines += ["", f"One event of 4 MiB in 1460-byte pieces: {middle * 1000:.1f} ms of CPU."]
    lines += [f"import penstock.protocol: {imported * 1000:.1f} ms of CPU."]
    print("\n".join(lines))
    if chosen.out:
        chosen.out.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
