"""What each endpoint is for, beside its route: `OPERATIONS` by method and route, in the order in which they are shown.

A route without a row here fails a test. One route may lead to several paths, where an id and more follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .shapes import TEXT, Json, ref

__all__ = ["GROUPS", "OPERATIONS", "Operation"]

JSON = "application/json"
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
PLAIN = "text/plain"
FORM = "multipart/form-data"

GROUPS = {
    "OpenAI": "For OpenAI's SDKs and all that speak as they do. `/v1` may be left out.",
    "Anthropic": "For Anthropic's SDKs.",
    "Ollama": "For Ollama's clients, to which this gateway is an Ollama.",
    "Simple": "A prompt in, a text out: the older, simple forms.",
    "WebSocket": "The same over one connection: JSON-RPC 2.0, or plain messages with a `type`.",
    "Sessions": "Conversations that are kept for the key that made them.",
    "Administration": "Keys and what they used. Needs a key with `admin = true`, and the store.",
    "Operations": "For probers, monitors and people.",
}


class Operation(NamedTuple):
    """One operation. `path` is where it is, if that is not its route's own; `body` and `answer` have a shape for each
    content type."""

    group: str
    summary: str
    body: Mapping[str, Json] = {}
    answer: Mapping[str, Json] = {}
    path: str = ""
    text: str = ""
    parameters: tuple[Json, ...] = ()
    status: int = 200
    needs_body: bool = True
    otherwise: Mapping[str, Mapping[str, Json]] = {}
    """What comes with other statuses, where that is no error's shape."""


def _json(name: str) -> dict[str, Json]:
    return {JSON: ref(name)}


def _parameter(name: str, where: str, about: str, shape: Json | None = None) -> Json:
    told = {"name": name, "in": where, "description": about, "schema": shape or TEXT}
    return {**told, "required": True} if where == "path" else told


def _ask(
    group: str, summary: str, body: str, answer: str, *, stream: str = "", item: str = "", text: str = ""
) -> Operation:
    streams = {} if not stream else {stream: ref(item)} if stream == NDJSON else {stream: _event(item)}
    return Operation(group, summary, _json(body), _json(answer) | streams, text=text, parameters=_HEADERS)


def _event(item: str = "") -> Json:
    """One event of a stream; `item` is what its data is, but for an error and the end marker."""
    data: Json = TEXT
    if item:  # an error on the way is an event as well
        data = {**TEXT, "contentMediaType": JSON, "contentSchema": {"anyOf": [ref(item), ref("Error")]}}
    event: Json = {"type": "object", "properties": {"data": data, "event": TEXT}, "required": ["data"]}
    if item not in ("ChatChunk", "Completion"):
        return event
    return {"anyOf": [event, {"type": "object", "properties": {"data": {"const": "[DONE]"}}, "required": ["data"]}]}


def _passed(summary: str, body: Mapping[str, Json], answer: Mapping[str, Json]) -> Operation:
    return Operation("OpenAI", summary, body, answer, text=_PASSED)


_PASSED = "Passed on to a provider that has it; where none of the model's has, the answer is a 404."
_HEADERS = (
    _parameter("X-Session-ID", "header", "The session that this is part of.", {**TEXT, "examples": ["chat-1"]}),
    _parameter("X-Request-ID", "header", "An id of your own, which leads through to the upstream."),
)
_LIMIT = _parameter("limit", "query", "How many at most.", {"type": "integer", "minimum": 1, "maximum": 100})
_CURSOR = _parameter("cursor", "query", "`next_cursor` of the page before.")
_ID = _parameter("id", "path", "Its id.")
_NAME = _parameter("name", "path", "The key's name.")
_SWITCH = Operation("WebSocket", "Open a WebSocket", {}, {}, status=101, text="RFC 6455, with permessage-deflate.")
_NOT_HERE = Operation("Ollama", "Not supported: an upstream's models are its owner's", status=403)
_HEALTH = Operation("Simple", "The same as /health", {}, _json("Health"))

OPERATIONS: Mapping[tuple[str, str], tuple[Operation, ...]] = {
    ("POST", "/chat/completions"): (
        _ask("OpenAI", "An answer to a chat", "ChatRequest", "Chat", stream=SSE, item="ChatChunk"),
    ),
    ("POST", "/completions"): (
        _ask("OpenAI", "A text, continued (legacy)", "CompletionRequest", "Completion", stream=SSE, item="Completion"),
    ),
    ("POST", "/responses"): (
        _ask("OpenAI", "A response", "ResponseRequest", "Response", stream=SSE, text="Kept if the store is on."),
    ),
    ("GET", "/responses/"): (
        Operation("OpenAI", "A stored response", {}, _json("Response"), "/responses/{id}", parameters=(_ID,)),
        Operation("OpenAI", "What it was made of", {}, _json("List"), "/responses/{id}/input_items", parameters=(_ID,)),
    ),
    ("DELETE", "/responses/"): (
        Operation("OpenAI", "Delete a stored response", {}, _json("Deleted"), "/responses/{id}", parameters=(_ID,)),
    ),
    ("POST", "/responses/"): (
        Operation("OpenAI", "End a response", {}, _json("Response"), "/responses/{id}/cancel", parameters=(_ID,)),
    ),
    ("POST", "/embeddings"): (_ask("OpenAI", "Vectors of texts", "EmbeddingRequest", "Embeddings"),),
    ("GET", "/models"): (Operation("OpenAI", "The models that this key may use", {}, _json("Models")),),
    ("GET", "/models/"): (
        Operation(
            "OpenAI",
            "One model",
            {},
            _json("Model"),
            "/models/{id}",
            "Slashes in the id may be encoded or not.",
            (_ID,),
        ),
    ),
    ("POST", "/audio/transcriptions"): (
        _passed("A recording's text", {FORM: ref("AudioForm")}, _json("Anything") | {PLAIN: TEXT, SSE: _event()}),
    ),
    ("POST", "/audio/translations"): (
        _passed("A recording's text in English", {FORM: ref("AudioForm")}, _json("Anything") | {PLAIN: TEXT}),
    ),
    ("POST", "/audio/speech"): (
        _passed(
            "A text, spoken", _json("SpeechRequest"), {"audio/*": {"type": "string", "format": "binary"}, SSE: _event()}
        ),
    ),
    ("POST", "/moderations"): (_passed("Whether a text is harmful", _json("ModerationRequest"), _json("Anything")),),
    ("POST", "/images/generations"): (
        _passed("A picture", _json("ImageRequest"), _json("Anything") | {SSE: _event()}),
    ),
    ("POST", "/images/edits"): (_passed("A picture, changed", {FORM: ref("ImageForm")}, _json("Anything")),),
    ("POST", "/images/variations"): (_passed("A picture once more", {FORM: ref("ImageForm")}, _json("Anything")),),
    ("POST", "/rerank"): (_passed("Texts, put in order", _json("RerankRequest"), _json("Anything")),),
    ("POST", "/messages"): (_ask("Anthropic", "A message", "AnthropicRequest", "AnthropicMessage", stream=SSE),),
    ("POST", "/messages/count_tokens"): (
        _ask("Anthropic", "How many tokens a request has", "AnthropicRequest", "TokenCount"),
    ),
    ("POST", "/api/chat"): (
        _ask("Ollama", "An answer to a chat", "OllamaChatRequest", "OllamaChat", stream=NDJSON, item="OllamaChat"),
    ),
    ("POST", "/api/generate"): (
        _ask("Ollama", "A text", "OllamaGenerateRequest", "OllamaGenerate", stream=NDJSON, item="OllamaGenerate"),
    ),
    ("POST", "/api/embed"): (_ask("Ollama", "Vectors of texts", "OllamaEmbedRequest", "OllamaEmbed"),),
    ("POST", "/api/embeddings"): (
        _ask("Ollama", "The vector of a text", "OllamaEmbeddingsRequest", "OllamaEmbeddings"),
    ),
    ("GET", "/api/tags"): (Operation("Ollama", "The models", {}, _json("OllamaTags")),),
    ("POST", "/api/show"): (Operation("Ollama", "One model", _json("OllamaName"), _json("OllamaModel")),),
    ("GET", "/api/ps"): (Operation("Ollama", "The models in memory", {}, _json("OllamaRunning")),),
    ("GET", "/api/version"): (Operation("Ollama", "Whose API this is", {}, _json("OllamaVersion")),),
    ("GET", "/"): (Operation("Ollama", "That somebody is there", {}, {PLAIN: TEXT}),),
    **{("POST", f"/api/{what}"): (_NOT_HERE,) for what in ("pull", "push", "create", "copy")},
    ("DELETE", "/api/delete"): (_NOT_HERE,),
    **{
        (method, "/api/blobs/"): (_NOT_HERE._replace(path="/api/blobs/{id}", parameters=(_ID,)),)
        for method in ("GET", "POST")
    },
    ("POST", "/chat"): (_ask("Simple", "A prompt", "PromptRequest", "Simple", stream=SSE, item="SimplePiece"),),
    ("POST", "/api/v1/chat"): (
        _ask("Simple", "A message", "SimpleMessageRequest", "Simple", stream=SSE, item="SimplePiece"),
    ),
    ("GET", "/api/v1/chat/models"): (Operation("Simple", "The same as /v1/models", {}, _json("Models")),),
    ("GET", "/api/v1/chat/health"): (_HEALTH,),
    ("GET", "/proxy/health"): (_HEALTH,),
    **{("GET", path): (_SWITCH,) for path in ("/chat/ws", "/api/v1/chat/ws", "/ws")},
    ("GET", "/sessions"): (
        Operation("Sessions", "Sessions, the latest used first", {}, _json("Page"), parameters=(_LIMIT, _CURSOR)),
    ),
    ("POST", "/sessions"): (
        Operation("Sessions", "A new session", _json("SessionRequest"), _json("Session"), needs_body=False),
    ),
    ("GET", "/sessions/"): (
        Operation("Sessions", "One session", {}, _json("Session"), "/sessions/{id}", parameters=(_ID,)),
        Operation(
            "Sessions",
            "What was said in it",
            {},
            _json("Page"),
            "/sessions/{id}/messages",
            parameters=(_ID, _LIMIT, _CURSOR),
        ),
    ),
    ("DELETE", "/sessions/"): (
        Operation("Sessions", "Delete a session", {}, _json("Deleted"), "/sessions/{id}", parameters=(_ID,)),
    ),
    ("GET", "/admin/keys"): (Operation("Administration", "All keys, without their secrets", {}, _json("Keys")),),
    ("POST", "/admin/keys"): (Operation("Administration", "A new key", _json("KeyRequest"), _json("Key"), status=201),),
    ("DELETE", "/admin/keys/"): (
        Operation("Administration", "Revoke a key", {}, _json("Key"), "/admin/keys/{name}", parameters=(_NAME,)),
    ),
    ("POST", "/admin/keys/"): (
        Operation(
            "Administration",
            "A new secret for a key",
            {},
            _json("Key"),
            "/admin/keys/{name}/rotate",
            parameters=(
                _NAME,
                _parameter(
                    "grace_seconds",
                    "query",
                    "How long the old secret stays good.",
                    {"type": "integer", "minimum": 0, "maximum": 99999999},
                ),
            ),
        ),
    ),
    ("GET", "/admin/usage"): (
        Operation(
            "Administration",
            "What was used, the most tokens first",
            {},
            _json("List"),
            parameters=(
                _parameter("by", "query", "What is summed up.", {"type": "string", "enum": ["key", "model"]}),
                _parameter("days", "query", "How far back.", {"type": "integer", "minimum": 0, "maximum": 99999}),
            ),
        ),
    ),
    ("GET", "/health"): (Operation("Operations", "Whether it lives, and how", {}, _json("Health")),),
    ("GET", "/ready"): (
        Operation("Operations", "Whether new work is welcome", {}, _json("Ready"), otherwise={"503": _json("Ready")}),
    ),
    ("GET", "/metrics"): (Operation("Operations", "Figures for Prometheus", {}, {PLAIN: TEXT}),),
    ("GET", "/openapi.json"): (Operation("Operations", "This document", {}, {JSON: {"type": "object"}}),),
    ("GET", "/docs"): (Operation("Operations", "This document as a page", {}, {"text/html": TEXT}),),
}
