"""Ollama's `/api/generate`: a prompt in, a text out. Streams and answers are those of `ollama` in another shape.

A prompt is one message of the user's, with its images, after the system's where there is one. What a chat has no words
for lives in `extra` and is refused by `as_chat`: `suffix`, `template`, `raw`, `context`, `logprobs`. An empty prompt
asks for nothing but the model in memory: then there are no messages, and `load_reason` says which.

To and from `completions` go a plain prompt, `suffix`, `n` and the sampling fields.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Request
from . import completions_request
from .failures import decode_error
from .ollama_body import Body, decode_response
from .ollama_lines import GENERATE, Times, encode_error
from .ollama_passage import GeneratePassage as Passage
from .ollama_request import decode_content, decode_fields, encode_content, encode_fields, load_reason
from .ollama_stream import GenerateEncoder as StreamEncoder
from .ollama_stream import StreamDecoder
from .openai_request import fields_of, invalid
from .prompts import check, prompt_of, refuse, without

__all__ = [
    "Passage",
    "StreamDecoder",
    "StreamEncoder",
    "Times",
    "as_chat",
    "decode_error",
    "decode_request",
    "decode_response",
    "encode_error",
    "encode_load",
    "encode_request",
    "encode_response",
    "load_reason",
    "mend_response",
]

_body = Body(GENERATE)
encode_load, encode_response, mend_response = _body.encode_load, _body.encode_response, _body.mend_response

_ONLY = {
    "suffix": "it cannot fill in the middle",
    "template": "it has no templates",
    "raw": "it applies its own template always",
    "context": "it keeps nothing of earlier answers",
    "logprobs": "its log probabilities have another form",
}
_IDLE = {"suffix": "", "template": "", "raw": False, "context": [], "logprobs": False}
_KINDS = {"prompt": str, "system": str, "suffix": str, "template": str, "images": list, "context": list}


def decode_request(body: bytes) -> Request:
    """What the client asks for. Raises RemoteProtocolError (400) where the body is no such request."""
    fields = fields_of(body)
    for name, kind in _KINDS.items():
        if not isinstance(fields.get(name, kind()), kind):
            raise invalid(f"'{name}' must be a {'string' if kind is str else 'list'}")
    messages = []
    if fields.get("prompt"):
        if fields.get("system"):
            messages.append({"role": "system", "content": fields["system"]})
        messages.append({"role": "user", "content": decode_content(fields["prompt"], fields.get("images"))})
    request = decode_fields(fields, messages)
    own = {name: fields[name] for name in _ONLY if name in fields}
    return request._replace(extra={**request.extra, **own})


def as_chat(request: Request) -> Request:
    """The request for a dialect of chats. Raises RemoteProtocolError (400) for what a chat cannot say, by its name."""
    check(request, _ONLY, _IDLE)
    return request._replace(extra=without(request, (*_ONLY, "top_logprobs")))


def encode_request(request: Request) -> bytes:
    """The request as Ollama reads it. Raises RemoteProtocolError (400) for a chat that is more than a prompt."""
    theirs = {name: completions_request.ONLY[name] for name in ("prompt", "echo", "best_of")}
    completions_request.check_only(request, theirs)
    if type(request.extra.get("logprobs")) is int:  # those of `completions`; Ollama's say only whether
        raise refuse("logprobs", _ONLY["logprobs"])
    system, content = prompt_of(request)
    text, images = encode_content(content)
    own: dict[str, Any] = {"prompt": text}
    own |= {"system": system} if system else {}
    own |= {"images": images} if images else {}
    own |= {name: request.extra[name] for name in _ONLY if name in request.extra}
    return jsontext.dumps(encode_fields(request, own))
