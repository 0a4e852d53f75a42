"""The shapes of requests.

They say what this gateway insists on, or every upstream does. What else it passes on as it stands is the upstream's to
judge, and has no type here but a word on what it is: a stricter shape would be untrue.
"""

from __future__ import annotations

from .shapes import COUNT, TEXT, Json, array, obj, passed, ref, word

__all__ = ["REQUESTS"]

MODEL: Json = {
    "type": "string",
    "minLength": 1,
    "description": "`provider/model`, a route, an alias, or the bare id of a model that one provider knows.",
    "examples": ["echo"],
}
MESSAGES = array(ref("ChatMessage"), minItems=1, examples=[[{"role": "user", "content": "Привет, বাংলা 👋"}]])
STREAM: Json = {"type": ["boolean", "null"], "description": "Whether the answer comes in pieces, as they are made."}
STREAM_OPTIONS: Json = {
    "type": ["object", "null"],
    "description": "`include_usage`: whether the last piece but the end marker has the token counts.",
}
TOOLS = passed("Functions that the model may call, as OpenAI has them.")
SESSION: Json = {
    "type": ["string", "null"],
    "description": "The conversation that this is part of; as the header `X-Session-ID`.",
}
SAMPLING = {
    "temperature": passed("For the upstream, which judges it; so are all members that are not named here."),
    "max_tokens": passed("An upper bound on the tokens of the answer; also reserved from the key's budget."),
}
_MESSAGE = obj(
    {"role": {**TEXT, "examples": ["user"]}},
    {
        "content": passed("A text, or a list of parts: text, images, audio, files."),
        "tool_calls": passed("What the assistant called, in an earlier turn."),
        "tool_call_id": passed("Which call this is the result of."),
    },
)
REQUESTS: Json = {
    "ChatRequest": obj(
        {"model": MODEL, "messages": MESSAGES},
        {"stream": STREAM, "stream_options": STREAM_OPTIONS, "tools": TOOLS, "session_id": SESSION, **SAMPLING},
        "OpenAI's request for a chat. A body with `input` in the place of `messages` is read as the Responses form.",
    ),
    "ChatMessage": _MESSAGE,
    "CompletionRequest": obj(
        {
            "model": MODEL,
            "prompt": passed(
                "A text, a list of texts, or token ids.", type=["string", "array"], examples=["Once upon a time"]
            ),
        },
        {"stream": STREAM, "stream_options": STREAM_OPTIONS, **SAMPLING},
        "OpenAI's legacy form: a text that is to be continued.",
    ),
    "ResponseRequest": obj(
        {
            "model": MODEL,
            "input": passed("A text, or a list of items.", type=["string", "array"], examples=["Say hello."]),
        },
        {
            "stream": STREAM,
            "instructions": passed("What is said to the model before the input."),
            "previous_response_id": passed("The stored response that this one follows. Needs the store."),
            "store": passed("`false`: it is not kept. With the store off, nothing is."),
            "tools": TOOLS,
        },
        "OpenAI's Responses form.",
    ),
    "AnthropicRequest": obj(
        {"model": MODEL, "messages": MESSAGES},
        {"stream": STREAM, "max_tokens": passed("An upper bound on the tokens of the answer."), "tools": TOOLS}
        | {"system": passed("What is said to the model before the messages.")},
        "Anthropic's request for a message.",
    ),
    "OllamaChatRequest": obj(
        {"model": MODEL, "messages": MESSAGES},
        {"stream": {**STREAM, "default": True}, "options": passed("Sampling, as Ollama has it."), "tools": TOOLS},
        "Ollama's request for a chat; it streams unless it says otherwise.",
    ),
    "OllamaGenerateRequest": obj(
        {"model": MODEL, "prompt": passed("A text.", type="string", examples=["Once upon a time"])},
        {"stream": {**STREAM, "default": True}, "options": passed("Sampling, as Ollama has it.")},
        "Ollama's request for a text that is to be continued.",
    ),
    "OllamaName": obj({"model": MODEL}, {"name": passed("The older name of `model`.")}, "Which model."),
    "OllamaEmbedRequest": obj(
        {"model": MODEL, "input": passed("A text, or a list of texts.", type=["string", "array"], examples=["hello"])},
        about="Ollama's form.",
    ),
    "OllamaEmbeddingsRequest": obj(
        {"model": MODEL, "prompt": passed("A text.", type="string", examples=["hello"])}, about="Ollama's older form."
    ),
    "PromptRequest": obj(
        {"prompt": {**TEXT, "pattern": r"\S", "examples": ["Hello"]}},
        {"context": passed("A text, an object, or earlier messages."), "model": passed("See chats."), "stream": STREAM},
        "The simple form of a chat. Without `model` it goes to the alias `default`.",
    ),
    "SimpleMessageRequest": obj(
        {"message": {**TEXT, "pattern": r"\S", "examples": ["Hello"]}},
        {"context": passed("A text, an object, or earlier messages."), "model": passed("See chats."), "stream": STREAM},
        "The same by another name.",
    ),
    "EmbeddingRequest": obj(
        {
            "model": MODEL,
            "input": passed(
                "A text, texts, token ids, or lists of them.", type=["string", "array"], examples=["hello"]
            ),
        },
        {
            "encoding_format": passed("`float`, or `base64` for little-endian float32."),
            "dimensions": passed("How many."),
        },
    ),
    "ModerationRequest": obj(
        {"input": passed("A text, or a list.", type=["string", "array"], examples=["hello"])},
        {"model": passed("See chats.")},
    ),
    "ImageRequest": obj(
        {"model": MODEL, "prompt": passed("What is to be seen.", type="string", examples=["a penstock"])}
    ),
    "RerankRequest": obj(
        {"model": MODEL, "query": passed("What is looked for.", type="string", examples=["hello"])},
        {"documents": passed("Texts that are to be put in order."), "top_n": passed("How many are wanted.")},
    ),
    "SpeechRequest": obj(
        {"model": MODEL, "input": passed("What is to be spoken.", type="string", minLength=1, examples=["hello"])},
        {"voice": passed("Whose voice."), "response_format": passed("`mp3`, `opus`, `aac`, `flac`, `wav`, `pcm`.")},
    ),
    "AudioForm": obj(
        {
            "model": MODEL,
            "file": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
        },
        {"response_format": TEXT, "language": TEXT, "prompt": TEXT, "stream": TEXT},
        "A form with a recording in it; its fields may come before and after the file.",
    ),
    "ImageForm": obj(
        {"model": MODEL},
        {
            "image": {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"},
            "prompt": TEXT,
        },
        "A form with pictures in it.",
    ),
    "SessionRequest": obj(
        {}, {"id": passed("A name of your own."), "title": passed("For lists."), "metadata": passed("")}
    ),
    "KeyRequest": obj(
        {"name": {**TEXT, "minLength": 1, "maxLength": 100, "pattern": r"^[!-.0-~]+$"}},
        {
            "user": {**TEXT, "maxLength": 200},
            "models": array(TEXT, minItems=1),
            "origins": array({**TEXT, "examples": ["https://chat.example.com"]}),
            **{
                limit: {**COUNT, "maximum": 2**53, "description": "0 for no limit."}
                for limit in ("requests_per_minute", "tokens_per_minute", "parallel", "token_budget")
            },
            "budget_period": word("day", "month", "total"),
            "expires_at": {"type": ["number", "null"], "description": "Seconds since 1970."},
        },
        additionalProperties=False,
    ),
}
