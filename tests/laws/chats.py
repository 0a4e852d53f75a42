"""The chat machines under the laws: stream decoders, relays and whole answers, of every dialect to every other.

There is no reference for them: what a machine says byte by byte is what every other cut must come to, byte for byte
and just as early. Beside that, what comes out is held against what a client of the dialect is promised, and text
against what the source's decoder read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from random import Random
from typing import Any

from laws.law import Broken
from laws.reference import sse as sse_reference
from laws.reference.told import Told
from laws.streams import chat
from laws.subjects import Case, Subject
from penstock.protocol.chat import Accumulator, Answer, End, Event, Failed, Finish, Reasoning, Refusal, Start, Text
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.reader import Reader
from penstock.protocol.relay import Relay, Whole
from penstock.protocol.tags import Structures

__all__ = ["SUBJECTS", "client_frames", "fits_a_client", "strict"]

READABLE = (
    "What a client gets is whole frames of JSON on one line: UTF-8, no NaN, no line breaks that only some readers know."
)
ONE_END = "Each stream has exactly one ending, the client's too, and nothing comes after it."
SAID = "The text that a client reads is what the upstream said."
SILENT = "Until something meaningful came, the client gets nothing."
EVENTS = (
    "Events begin with one Start at most and end with one End or Failed; texts are Unicode, calls are numbered densely."
)
BLIND = "A run that passes at a glance is what its frames come to one by one."

_IDENTITY = {"id": "own-1", "created": 1750000000, "model": "own"}
_TYPES = [None, None, "text/event-stream", "application/x-ndjson", "application/json"]
_FAILED = Failed("the client's patience ended", 504, code="timed_out")


# --- cases ---


def _limits(choose: Random) -> dict[str, Any]:
    found: dict[str, Any] = dict(_IDENTITY)
    if choose.random() < 0.2:
        found["max_frame_bytes"] = 20 + int(choose.random() * 300)
    if choose.random() < 0.2:
        found["json_depth"] = 1 + int(choose.random() * 5)
    return found


def _stream(source: str, choose: Random) -> bytes:
    if choose.random() < 0.03:  # another server than was thought
        return chat.stream(choose, choose.choice(list(DIALECTS)))
    if choose.random() < 0.03:
        return choose.choice(
            [b"", b" \n", b"{", b"<html>\n", b'{"error":{"message":"no"}}', b'{"detail":"x"}', b"[]", b"null\n"]
        )
    return chat.stream(choose, source)


def _relayed(source: str) -> Callable[[Random], Case]:
    def case(choose: Random) -> Case:
        options = _limits(choose)
        options["content_type"] = choose.choice(_TYPES)
        options["include_usage"] = choose.random() < 0.5
        options["fails"] = choose.random() < 0.1
        options["tagged"] = choose.random() < 0.15
        return Case(_stream(source, choose), options)

    return case


def _decoded(source: str) -> Callable[[Random], Case]:
    framings = ["json", *[DIALECTS[source].framing] * 4]
    return lambda choose: Case(_stream(source, choose), {"framing": choose.choice(framings), **_limits(choose)})


# --- what a client is promised ---


def strict(data: bytes, *, one_line: bool = True) -> Any:
    """The JSON in `data`, as the strictest client reads it. A whole body may have many lines."""
    text = data.decode("utf-8")
    if one_line and set(text) & set("\n\r\u2028\u2029\x85"):
        raise ValueError("a line break")
    value = json.loads(text, parse_constant=_refuse)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # no lone surrogates
    return value


def _refuse(name: str) -> None:
    raise ValueError(name)


def client_frames(sink: str, out: bytes) -> Iterator[tuple[str, Any]]:
    """The frames of a stream as a client gets them: type and value, or "done" and None for `[DONE]`."""
    if DIALECTS[sink].framing == "ndjson":
        *lines, rest = out.split(b"\n")
        if rest:
            raise ValueError("an unfinished line")
        yield from (("", strict(line)) for line in lines)
        return
    if out and not out.endswith(b"\n\n"):
        raise ValueError("an unfinished event")
    for _, *event in sse_reference.events(out, 1 << 30).results:
        data, kind, _ = event
        yield ("done", None) if data == "[DONE]" else (kind, strict(data.encode()))


def fits_a_client(sink: str, out: bytes) -> None:
    """What goes to a client is well-formed, and ends once. Raises Broken."""
    try:
        frames = list(client_frames(sink, out))
    except ValueError as error:
        raise Broken(READABLE, error, out) from error
    ends = [at for at, (kind, value) in enumerate(frames) if _ends(sink, kind, value)]
    if out and ends != [len(frames) - 1]:
        raise Broken(ONE_END, f"an end in the last of {len(frames)} frames", ends)


def _ends(sink: str, kind: str, value: Any) -> bool:
    if kind == "done":
        return True
    said = value.get("type") if isinstance(value, dict) else None
    if sink == "responses":  # a failure is said twice there, for two kinds of clients; the latter is the end
        return said in ("response.completed", "response.incomplete", "error")
    if sink == "anthropic":
        return said in ("message_stop", "error")
    return isinstance(value, dict) and ("error" in value or (sink.startswith("ollama") and value.get("done") is True))


def _gathered(dialect: str, data: bytes, framing: str, **options: Any) -> Answer:
    """What a stream says, read by its dialect's own decoder."""
    decoder = DIALECTS[dialect].decoder(framing, **options)
    whole = Accumulator()
    whole.feed([*decoder.feed(data), *decoder.close()])
    return whole.answer()


def _text(answer: Answer) -> str:
    """The text of the first choice. A dialect without refusals says them as text: they are left out of the law."""
    return next((choice.text for choice in answer.choices if choice.index == 0 and not choice.refusal), "")


# --- decoders ---


def _decoder(name: str) -> Subject:
    def make(framing: str, **options: Any) -> Any:
        return DIALECTS[name].decoder(framing, **options)

    return Subject(
        f"decoder-{name}",
        _decoded(name),
        make,
        state=lambda machine: (
            machine.failed,
            machine.ending,
            machine.ended,
            machine.usage,
            machine.stats.frames,
            machine.stats.last_event,
        ),
        also=_good_events,
    )


def _good_events(case: Case, told: Told) -> None:
    events: list[Event] = told.results
    ends = [at for at, event in enumerate(events) if isinstance(event, End | Failed)]
    starts = [at for at, event in enumerate(events) if isinstance(event, Start)]
    failed, ending, *_ = told.state
    if ends != [len(events) - 1] or starts not in ([], [0]) or ending is None:
        raise Broken(EVENTS, "one Start and one end", events)
    if isinstance(events[-1], Failed) is (ending.kind == "completed") or (failed is None) is not (
        ending.kind == "completed"
    ):
        raise Broken(ONE_END, (ending, failed), events[-1])
    calls: dict[int, int] = {}
    for event in events:
        match event:
            case Text(text, _) | Reasoning(text, _) | Refusal(text, _):
                _unicode(text, events)
            case Finish() | Start() | End() | Failed():
                pass
            case _ if hasattr(event, "arguments"):
                choice, index, id, name, arguments = event
                for text in (id, name, arguments):
                    _unicode(text, events)
                known = calls.get(choice, 0)
                if index > known:
                    raise Broken(EVENTS, f"call {known} next", event)
                calls[choice] = max(known, index + 1)


def _unicode(text: Any, events: Iterable[Event]) -> None:
    try:
        text.encode("utf-8")
    except (AttributeError, UnicodeEncodeError) as error:
        raise Broken(EVENTS, error, events) from error


def _reader(name: str) -> Subject:
    """The same, where the bytes say what they are."""

    def case(choose: Random) -> Case:
        return Case(_stream(name, choose), {**_limits(choose), "content_type": choose.choice(_TYPES)})

    return Subject(
        f"reader-{name}",
        case,
        lambda **options: Reader(name, **options),
        state=lambda machine: (machine.failed, machine.ending, machine.usage, machine.stats.frames, _counts(machine)),
        also=_good_events,
    )


# --- relays ---


class _Failing:
    """A relay that is ended from outside, in the place of the upstream's end, unless that has come."""

    def __init__(self, relay: Any) -> None:
        self.relay = relay
        self.feed = relay.feed

    def close(self) -> bytes:
        out = b"" if self.relay.ended else self.relay.fail(_FAILED)
        return bytes(out + self.relay.close())


def _state(machine: Any) -> tuple[Any, ...]:
    relay = machine.relay if isinstance(machine, _Failing) else machine
    return relay.failed, relay.ending, relay.usage, relay.started, relay.ended, _counts(relay)


def _counts(machine: Any) -> tuple[int, ...]:
    return tuple(getattr(machine.stats, name) for name in type(machine.stats).__slots__)


def _relay(source: str, sink: str) -> Subject:
    def make(fails: bool, **options: Any) -> Any:
        relay = Relay(source, sink, **_own(options))
        return _Failing(relay) if fails else relay

    def also(case: Case, told: Told) -> None:
        failed, ending, _, started, ended, _ = told.state
        if ending is None or not ended or (failed is None) is not (ending.kind == "completed"):
            raise Broken(ONE_END, "one ending", told.state)
        if told.results and not started:
            raise Broken(SILENT, b"", told.results)
        fits_a_client(sink, told.results)
        if not case.options["tagged"]:
            if source == sink == "openai" and not case.options["fails"]:
                _blind(case, told)
            _tells_the_text(source, sink, case, told)

    return Subject(f"relay-{source}-{sink}", _relayed(source), make, state=_state, also=also)


def _tells_the_text(source: str, sink: str, case: Case, told: Told) -> None:
    """Of a stream that came to its end in its own dialect's framing, the sink's decoder reads what was said."""
    _, ending, _, started, _, _ = told.state
    relay = _Watched(source, sink, **_own(case.options))
    relay.feed(case.data)
    relay.close()
    framing = relay.framing
    if not started or ending.kind != "completed" or framing is None:
        return
    limits = {name: said for name, said in case.options.items() if name in ("max_frame_bytes", "json_depth")}
    held = case.data if framing == "sse" else case.data.removeprefix(b"\xef\xbb\xbf")
    said = _gathered(source, held, framing, **_IDENTITY, **limits)
    read = _gathered(sink, told.results, DIALECTS[sink].framing)
    if not any(choice.refusal for choice in said.choices) and _unhalved(_text(read)) != _unhalved(_text(said)):
        raise Broken(SAID, _text(said), _text(read))


def _unhalved(text: str) -> str:
    """Without what may have been a surrogate pair: if something stands between its halves, dialects may disagree
    whether these belong together."""
    return re.sub("[\ufffd\U00010000-\U0010ffff]", "", text)


class _Watched(Relay):
    """A relay that says what it takes its input for."""

    framing: str | None = None

    def _make(self, framing: str) -> Any:
        self.framing = framing
        return super()._make(framing)


class _Blind:
    """A look that never knows a frame."""

    frames = largest = 0

    def glance(self, run: bytes) -> None:
        return None

    def passes(self, frame: bytes) -> bool:
        return False

    def learn(self, block: bytes, *, passed: bool = False) -> None:
        pass

    def forget(self) -> None:
        pass


class _Blinded(Relay):
    """A relay that parses each frame."""

    def _make(self, framing: str) -> Any:
        pipe: Any = super()._make(framing)
        pipe._look = _Blind()
        return pipe


def _blind(case: Case, told: Told) -> None:
    relay = _Blinded("openai", "openai", **_own(case.options))
    out = relay.feed(case.data) + relay.close()
    if (out, _state(relay)) != (told.results, told.state):
        raise Broken(BLIND, (out, _state(relay)), (told.results, told.state))


_STRUCTURES = Structures(think=["think"], think_anywhere=True, tool_call=True)


def _own(options: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline's own options."""
    own = {name: said for name, said in options.items() if name not in ("fails", "tagged")}
    return {**own, "structures": _STRUCTURES} if options.get("tagged") else own


# --- whole answers ---


def _whole(source: str, sink: str) -> Subject:
    def make(fails: bool, **options: Any) -> Any:
        whole = Whole(source, sink, **_own(options))
        return _Failing(whole) if fails else whole

    def also(case: Case, told: Told) -> None:
        failed, ending, _, _, _, _ = told.state
        if ending is None or bool(told.results) is (failed is not None):
            raise Broken(ONE_END, "a body or a failure", (told.results, failed, ending))
        if told.results:
            try:
                strict(told.results, one_line=False)
            except ValueError as error:
                raise Broken(READABLE, error, told.results) from error
            answer = DIALECTS[sink].decode_response(told.results)
            if isinstance(answer, Failed):
                raise Broken("A dialect reads its own answers.", told.results, answer)

    return Subject(f"whole-{source}-{sink}", _relayed(source), make, state=_state, also=also)


SUBJECTS = [
    *[_decoder(name) for name in DIALECTS],
    *[_reader(name) for name in DIALECTS],
    *[_relay(source, sink) for source in DIALECTS for sink in DIALECTS],
    *[_whole(source, sink) for source in DIALECTS for sink in DIALECTS],
]
