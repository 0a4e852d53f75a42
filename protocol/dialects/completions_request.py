"""Requests of OpenAI's legacy text completions, to and from the neutral `Request`.

One prompt is one message of the user's. Token ids, several prompts, `suffix`, `echo`, `best_of` and `logprobs` have no
words in a chat: they are kept in `extra` for servers of the same kind, and `as_chat` refuses them where the request
goes to another dialect. `n`, `response_format` and the sampling fields mean the same in both.

`max_tokens` is 16 where a client says nothing, as the API has it. A chat that says nothing leaves it to the server.
"""

from __future__ import annotations

from typing import Any

from .. import jsontext
from ..chat import Request
from .openai_request import FOREIGN, OPTIONS, fields_of, invalid, wants_usage
from .prompts import check, prompt_of, refuse, without

__all__ = ["ONLY", "as_chat", "decode_request", "encode_request"]

DEFAULT_MAX_TOKENS = 16

ONLY = {
    "prompt": "it takes one prompt, and that as a text",
    "suffix": "it cannot fill in the middle",
    "echo": "it cannot repeat the prompt",
    "best_of": "it makes no more answers than it gives",
    "logprobs": "its log probabilities have another form",
}
"""What a chat has no words for, and why."""

_NEUTRAL = frozenset(("model", "prompt", "stream", "stream_options", "max_tokens", "response_format"))
# Of Ollama's `/api/generate`; `raw` says only that there is no template, and here there never is one.
_FOREIGN_ONLY = {"template": "it has no templates", "context": "it keeps nothing of earlier answers"}
_FOREIGN_IDLE: dict[str, Any] = {"template": "", "context": []}


def decode_request(body: bytes) -> Request:
    """What the client asks for. Raises RemoteProtocolError (400) where the body is no such request."""
    fields = fields_of(body)
    prompt = _one(fields.get("prompt"))
    if not isinstance(fields.get("response_format", {}), dict):
        raise invalid("'response_format' must be an object")
    extra = {name: value for name, value in fields.items() if name not in _NEUTRAL and name not in OPTIONS}
    return Request(
        model=fields["model"],
        messages=[{"role": "user", "content": prompt}] if isinstance(prompt, str) else [],
        stream=fields.get("stream") is True,
        include_usage=wants_usage(fields),
        max_tokens=fields.get("max_tokens", DEFAULT_MAX_TOKENS),
        response_format=fields.get("response_format"),
        options={name: fields[name] for name in OPTIONS if name in fields},
        extra=extra if isinstance(prompt, str) else {"prompt": prompt, **extra},
    )


def _one(prompt: Any) -> Any:
    """The prompt: a list of one text is that text."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and _is_alike(prompt)):
        return prompt
    kind = "missing_required_parameter" if prompt is None else "invalid_value"
    raise invalid("'prompt' must be a string, a list of strings, or one or several lists of token ids", kind)


def _is_alike(prompts: list[Any]) -> bool:
    """Whether these are all texts, or all token ids, or all lists of token ids."""
    if all(isinstance(item, str) for item in prompts) or _are_ids(prompts):
        return True
    return all(isinstance(item, list) and item and _are_ids(item) for item in prompts)


def _are_ids(items: list[Any]) -> bool:
    return all(type(item) is int for item in items)


def as_chat(request: Request) -> Request:
    """The request for a dialect of chats. Raises RemoteProtocolError (400) for what a chat cannot say, by its name."""
    check_only(request, ONLY)
    return request._replace(extra=without(request, ONLY))


def check_only(request: Request, only: dict[str, str]) -> None:
    """Refuses these of the fields in `ONLY`, where they ask for something."""
    several = request.extra.get("n", 1)
    best_of = request.extra.get("best_of")
    check(request, only, {"suffix": "", "echo": False, "best_of": several if best_of == several else 1})


def encode_request(request: Request) -> bytes:
    """The request as such a server reads it. Raises RemoteProtocolError (400) for a chat that is more than a prompt."""
    check(request, _FOREIGN_ONLY, _FOREIGN_IDLE)
    if request.extra.get("logprobs") is True:  # Ollama's: here it is a number
        raise refuse("logprobs", ONLY["logprobs"])
    fields: dict[str, Any] = {"model": request.model, "prompt": request.extra.get("prompt")}
    if fields["prompt"] is None:
        fields["prompt"] = _text_of(request)
    if request.stream:
        fields["stream"] = True
        if request.include_usage:
            fields["stream_options"] = {"include_usage": True}
    optional = {"max_tokens": request.max_tokens, "response_format": request.response_format}
    fields |= {name: value for name, value in optional.items() if value is not None}
    extra = without(request, ("prompt", "raw", "top_logprobs", *_FOREIGN_ONLY, *FOREIGN))
    return jsontext.dumps({**fields, **request.options, **extra})


def _text_of(request: Request) -> str:
    system, content = prompt_of(request)
    if system:
        raise refuse("messages", "it completes a prompt, and knows no system")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise refuse("messages", "it takes text only")
    return "".join(map(str, texts))
