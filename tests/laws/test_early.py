"""Nothing of a chat stream is held back longer than it must be: text goes on with the byte that completes its frame.

What may be held is a closed list: the beginning of a character or of a byte order mark, an unfinished frame, half of
a surrogate pair (or the frame that ends in one, where frames pass as they came), a finish until the usage that may
follow it (and where a dialect's clients take only whole ones, a tool call).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from laws.streams import chat
from penstock.protocol.chat import End, Event, Reasoning, Text
from penstock.protocol.dialects import DIALECTS
from penstock.protocol.relay import Relay


def scripted(dialect: str, count: int = 12) -> Iterator[list[chat.Frame]]:
    for number in range(count):
        choose = Random(f"early/{dialect}/{number}")
        said = chat.script(choose)
        if dialect == "completions":  # which has text only
            said = said._replace(parts=[part for part in said.parts if part[0] == "text"])
        yield chat.WRITERS[dialect](said, chat.raw if number % 2 else chat.escaped)


def fed(decoder: object, frames: list[chat.Frame]) -> Iterator[tuple[str, str, str, str]]:
    """After each frame: text that must be out, that is out, and the same of the reasoning."""
    said = {"text": "", "reasoning": ""}
    told = {Text: "", Reasoning: ""}
    for frame in frames:
        said["text"] += frame.text
        said["reasoning"] += frame.reasoning
        for event in read(decoder, frame.raw):
            if isinstance(event, Text | Reasoning):
                told[type(event)] += event.text
        yield said["text"], told[Text], said["reasoning"], told[Reasoning]


def read(decoder: object, data: bytes) -> list[Event]:
    return decoder.feed(data)  # type: ignore[attr-defined, no-any-return]


def must_be_out(said: str) -> str:
    """All but half of a pair at the end; whole pairs as the character that they are."""
    if said and "\ud800" <= said[-1] <= "\udbff":
        said = said[:-1]
    return said.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_c34_texts_come_with_their_frames(dialect: str) -> None:
    for frames in scripted(dialect):
        decoder = DIALECTS[dialect].decoder(DIALECTS[dialect].framing)
        for text, told, thought, reasoned in fed(decoder, frames):
            assert told == must_be_out(text)
            assert reasoned == must_be_out(thought)


@pytest.mark.parametrize("source", DIALECTS)
@pytest.mark.parametrize("sink", DIALECTS)
def test_a_relay_gives_texts_with_their_frames(source: str, sink: str) -> None:
    for frames in scripted(source, 4):
        relay, reader = Relay(source, sink), DIALECTS[sink].decoder(DIALECTS[sink].framing)
        text = told = ""
        passes = source == sink != "openai"
        for frame in frames:
            held = text if passes and "\ud800" <= frame.text[-1:] <= "\udbff" else text + frame.text
            text += frame.text
            told += "".join(event.text for event in read(reader, relay.feed(frame.raw)) if isinstance(event, Text))
            assert told == must_be_out(held)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_end_comes_with_its_marker(dialect: str) -> None:
    frames = chat.WRITERS[dialect](chat.Script([("text", "a")]), chat.raw)
    decoder = DIALECTS[dialect].decoder(DIALECTS[dialect].framing)
    *_, last = [event for frame in frames for event in read(decoder, frame.raw)]
    assert last == End()
    assert decoder.life.ended
