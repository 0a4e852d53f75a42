"""Whole answers of the Responses API: read, written, and passed on.

Reading is the stream decoder's: a whole response is its last event. Writing makes the same items as a stream's,
with the same ids. What another server of this API answered goes out byte for byte, where it has the members
without which clients do not read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import jsontext
from ..chat import Accumulator, Answer, Choice, Failed, Reasoning, Start, Usage
from .responses_decoder import StreamDecoder
from .responses_items import call_value, message_value, reasoning_value, text_part
from .responses_object import custom_tools, is_incomplete, item_id, response_id, response_object

__all__ = ["decode_response", "encode_response", "mend_response"]

Json = dict[str, Any]


def decode_response(
    body: bytes, *, id: str = "", created: int = 0, model: str = "", json_depth: int = 128
) -> Answer | Failed:
    """A whole answer, or why there is none: it is a stream of one event, and read as such."""
    decoder = StreamDecoder("json", id=id, created=created, model=model, json_depth=json_depth)
    whole = Accumulator()
    whole.feed([*decoder.feed(body), *decoder.close()])
    return decoder.failed or whole.answer()


def encode_response(
    answer: Answer, *, request: Mapping[str, Any] | None = None, own: Mapping[str, Any] | None = None
) -> bytes:
    """A whole answer as a response. `request` has what the response repeats of the request; `own` members of it that
    are not the answer's to say. Only choice 0 can be carried."""
    own = own or {}
    answer = answer._replace(id=str(own.get("id") or answer.id))
    choice = next((choice for choice in answer.choices if choice.index == 0), Choice(0, "", "", "", [], None))
    status = "incomplete" if is_incomplete(choice.reason) else "completed"
    request = request or {}
    value = response_object(
        Start(answer.id, answer.model, answer.created),
        request,
        status,
        output=_output(answer.id, choice, status, custom_tools(request)),
        usage=answer.usage,
        reason=choice.reason,
    )
    return jsontext.dumps({**value, **own})


def _output(answer_id: str, choice: Choice, status: str, custom: frozenset[str]) -> list[Json]:
    items: list[Json] = []

    def name(kind: str) -> str:
        return item_id(kind, answer_id, len(items))

    thoughts = choice.thoughts or ((Reasoning(choice.reasoning),) if choice.reasoning else ())
    for thought in thoughts:
        summary = [text_part("summary", thought.text)] if thought.text else []
        items.append(reasoning_value(name("rs"), summary, thought.signature))
    parts = [text_part("output_text", choice.text)] if choice.text else []
    parts += [text_part("refusal", choice.refusal)] if choice.refusal else []
    if parts:
        items.append(message_value(name("msg"), "completed", parts))
    for call in choice.tool_calls:
        free = call.name in custom
        arguments = call.arguments if free or call.arguments.strip() else "{}"
        whole = call._replace(arguments=arguments)
        items.append(call_value(name("ctc" if free else "fc"), "completed", whole, custom=free))
    if items and "status" in items[-1]:
        items[-1]["status"] = status  # where the answer breaks off, it is in the last item
    return items


def mend_response(
    body: bytes, *, own: Mapping[str, Any] | None = None, **given: Any
) -> tuple[bytes, Usage | None] | Failed:
    """The body to send, and its usage; or why there is none. Nothing to mend: the very same body.

    `given`: `id`, `created` and `model` where the upstream says none, and `json_depth`. `own` is as for
    `encode_response`.
    """
    decoder = StreamDecoder("json", **given)
    decoder.feed(body)
    decoder.close()
    if decoder.failed is not None:
        return decoder.failed
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    value, clean = jsontext.loads_body(text, given.get("json_depth", 128))
    if isinstance(value, list):
        value, clean = value[0], False
    needed: dict[str, tuple[type | tuple[type, ...], Any]] = {
        "id": (str, response_id(str(given.get("id", "")))),
        "object": (str, "response"),
        "created_at": ((int, float), given.get("created", 0)),
        "model": (str, given.get("model", "")),
        "status": (str, "completed"),
        "output": (list, []),
    }
    missing = {key: default for key, (kind, default) in needed.items() if not isinstance(value.get(key), kind)}
    if missing or own or not clean:
        text = jsontext.dumps({**value, **missing, **(own or {})})
    return text, decoder.usage
