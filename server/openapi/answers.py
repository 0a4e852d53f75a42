"""The shapes of answers and errors: what every client reads. There may be more, as upstreams have it."""

from __future__ import annotations

from .shapes import COUNT, FLAG, TEXT, WHOLE, Json, array, obj, ref, word

__all__ = ["ANSWERS"]

ID: Json = {**TEXT, "description": "Begins with the id of the request."}
USAGE = obj(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}, about="As the upstream counted."
)

_SAID = obj(
    {"role": TEXT, "content": {"type": ["string", "null"]}},
    {
        "refusal": {"type": ["string", "null"]},
        "reasoning_content": {"type": ["string", "null"]},
        "tool_calls": array(obj({"id": TEXT, "type": TEXT})),
    },
)
_ERRORS: Json = {
    "Error": obj(
        {
            "error": obj(
                {
                    "message": {**TEXT, "minLength": 1},
                    "type": TEXT,
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                }
            )
        }
    ),
    "AnthropicError": obj(
        {"type": {"const": "error"}, "error": obj({"type": TEXT, "message": {**TEXT, "minLength": 1}})}
    ),
    "OllamaError": obj({"error": {**TEXT, "minLength": 1}}),
}

ANSWERS: Json = {
    "Chat": obj(
        {
            "id": ID,
            "object": {"const": "chat.completion"},
            "created": WHOLE,
            "model": TEXT,
            "choices": array(obj({"index": COUNT, "message": _SAID, "finish_reason": {"type": ["string", "null"]}})),
        },
        {"usage": ref("Usage")},
    ),
    "ChatChunk": obj(
        {
            "id": ID,
            "object": {"const": "chat.completion.chunk"},
            "created": WHOLE,
            "model": TEXT,
            "choices": array(obj({"index": COUNT, "delta": {"type": "object"}})),
        },
        {"usage": {"anyOf": [ref("Usage"), {"type": "null"}]}},
        "One event of a stream, in `data:`; the last is `[DONE]`. An error on the way is an event with `error`, and "
        "then the stream ends without `[DONE]`.",
    ),
    "Usage": USAGE,
    "Completion": obj(
        {
            "id": ID,
            "object": {"const": "text_completion"},
            "created": WHOLE,
            "model": TEXT,
            "choices": array(obj({"text": TEXT, "index": COUNT, "finish_reason": {"type": ["string", "null"]}})),
        },
        {"usage": ref("Usage")},
    ),
    "Response": obj(
        {
            "id": ID,
            "object": {"const": "response"},
            "created_at": {"type": "number"},
            "status": word("completed", "incomplete", "failed", "in_progress", "cancelled", "queued"),
            "model": TEXT,
            "output": array(obj({"type": TEXT})),
        },
        {"error": {"type": ["object", "null"]}, "usage": {"type": ["object", "null"]}},
    ),
    "Deleted": obj({"id": TEXT, "object": TEXT, "deleted": {"const": True}}),
    "List": obj({"object": {"const": "list"}, "data": array({"type": "object"})}),
    "AnthropicMessage": obj(
        {
            "id": ID,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": TEXT,
            "content": array(obj({"type": TEXT})),
            "stop_reason": {"type": ["string", "null"]},
            "usage": obj({"input_tokens": COUNT, "output_tokens": COUNT}),
        }
    ),
    "TokenCount": obj({"input_tokens": COUNT}),
    "OllamaChat": obj(
        {"model": TEXT, "created_at": TEXT, "message": obj({"role": TEXT, "content": TEXT}), "done": FLAG},
        {"done_reason": TEXT, "prompt_eval_count": COUNT, "eval_count": COUNT, "total_duration": COUNT},
        "Streamed, each line is one of these, and the last has `done` and the counts.",
    ),
    "OllamaGenerate": obj(
        {"model": TEXT, "created_at": TEXT, "response": TEXT, "done": FLAG},
        {"done_reason": TEXT, "prompt_eval_count": COUNT, "eval_count": COUNT, "total_duration": COUNT},
        "Streamed, each line is one of these, and the last has `done` and the counts.",
    ),
    "OllamaTags": obj({"models": array(obj({"name": TEXT, "model": TEXT, "modified_at": TEXT, "size": COUNT}))}),
    "OllamaModel": obj({"details": {"type": "object"}, "model_info": {"type": "object"}, "capabilities": array(TEXT)}),
    "OllamaRunning": obj({"models": array(obj({"name": TEXT, "model": TEXT}))}),
    "OllamaVersion": obj({"version": TEXT}),
    "OllamaEmbed": obj({"embeddings": array(array({"type": "number"}))}, {"model": TEXT}),
    "OllamaEmbeddings": obj({"embedding": array({"type": "number"})}),
    "Simple": obj(
        {"id": ID, "model": TEXT, "response": TEXT, "done": FLAG},
        {"finish_reason": {"type": ["string", "null"]}, "usage": {"anyOf": [ref("Usage"), {"type": "null"}]}},
    ),
    "SimplePiece": obj(
        {"done": FLAG},
        {"response": TEXT, "reasoning": TEXT, "error": {"type": "object"}, "id": ID, "model": TEXT},
        "One event of a stream. The last has `done`, and what a whole answer has.",
    ),
    "Embeddings": obj(
        {
            "object": {"const": "list"},
            "data": array(
                obj({"object": {"const": "embedding"}, "index": COUNT, "embedding": {"type": ["array", "string"]}})
            ),
            "model": TEXT,
        },
        {"usage": obj({"prompt_tokens": COUNT, "total_tokens": COUNT})},
    ),
    "Anything": {"type": "object", "description": "As the upstream has it."},
    "Model": obj(
        {"id": TEXT, "object": {"const": "model"}, "created": WHOLE, "owned_by": TEXT},
        {"permission": array({"type": "object"}), "root": TEXT, "parent": {"type": "null"}},
        "What the upstream says of its model stands beside these.",
    ),
    "Models": obj({"object": {"const": "list"}, "data": array(ref("Model"))}),
    "Session": obj(
        {
            "id": TEXT,
            "object": {"const": "session"},
            "title": TEXT,
            "model": {"type": ["string", "null"]},
            "metadata": {"type": "object"},
            "message_count": COUNT,
            "created_at": WHOLE,
            "updated_at": WHOLE,
        }
    ),
    "Page": obj(
        {
            "object": {"const": "list"},
            "data": array({"type": "object"}),
            "has_more": FLAG,
            "next_cursor": {"type": ["string", "null"], "description": "For the next page's `cursor`."},
        }
    ),
    "Key": obj(
        {"id": COUNT, "name": TEXT, "hint": TEXT, "state": TEXT, "models": array(TEXT)},
        {"key": {**TEXT, "description": "The secret: in the answer that made it, and nowhere else."}},
    ),
    "Keys": obj({"object": {"const": "list"}, "data": array(ref("Key"))}),
    "Health": obj(
        {"status": {"const": "ok"}, "version": TEXT, "uptime_seconds": {"type": "number", "minimum": 0}},
        {
            "draining": FLAG,
            **dict.fromkeys(("in_flight", "streams", "connections"), COUNT),
            "sessions": obj({"websockets": COUNT, "active": COUNT}),
            "endings": {"type": "object", "additionalProperties": COUNT},
            "upstreams": array(ref("Upstream")),
            "store": obj({"state": word("off", "ok", "failing")}),
            "features": {"type": "object"},
        },
        "What is optional is for whom `server.metrics` lets see figures.",
    ),
    "Upstream": obj(
        {
            "name": TEXT,
            "preset": TEXT,
            "state": word("ok", "failing", "never asked"),
            "credentials": word("there", "missing", "not needed"),
            "under_way": COUNT,
            "operations": array(TEXT),
        },
        {"since": WHOLE, "asked_at": WHOLE, "failure": TEXT},
        "As it was when it was last asked; nobody is asked for this.",
    ),
    "Ready": obj({"status": word("ready", "draining", "unavailable")}, {"reason": TEXT}),
    **_ERRORS,
}
