"""What Ollama's clients are told of a model: its tag in the list, and its card.

An upstream that is an Ollama says most of it itself; of others the list of models says a little, and the rest is made
up so that nothing is missing that a client relies on. Each client has its own demands: names with a tag behind a colon
and a date (Open WebUI, the SDKs), `details` that are strings (Roo), `capabilities` with `tools` in it (VS Code, Roo),
the length of the context by the architecture's name (VS Code) or as a parameter `num_ctx` (Continue).

What nobody has said is not claimed, with one exception: models are taken to know tools, since clients hide those that
do not, and nearly all that are served today do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..protocol.dialects.ollama_lines import rfc3339
from ..providers.catalog import LATEST, Model

__all__ = ["card", "name_of", "tag"]

Json = dict[str, Any]

_CAPABILITIES = frozenset(
    {"completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio"}  # Ollama's own words
)
_TEXTS = ("parent_model", "format", "family", "parameter_size", "quantization_level")
_CONTEXTS = ("context_length", "context_window", "max_model_len")


def name_of(id: str) -> str:
    """An id as Ollama's clients know it: they expect a tag, and put one where there is none."""
    return id if ":" in id else id + LATEST


def tag(model: Model, created: int) -> Json:
    """The model's entry in the list; `created` is the date of one that has none."""
    info = model.info
    size, digest = info.card.get("size"), info.card.get("digest")
    name = name_of(model.id)
    known = {"capabilities": _known(info.card["capabilities"])} if "capabilities" in info.card else {}
    return {
        "name": name,
        "model": name,
        "modified_at": _modified_at(model, created),
        "size": size if type(size) is int and size > 0 else 0,
        "digest": digest if isinstance(digest, str) and digest else hashlib.sha256(model.id.encode()).hexdigest(),
        "details": _details(model),
        **known,
    }


def card(model: Model, created: int) -> Json:
    """The answer to `/api/show`, made of what is known."""
    details = _details(model)
    context, meta = _context(model), _table(model.info.card.get("meta"))
    family = details["family"]
    numbers = {
        f"{family}.context_length": context,
        f"{family}.embedding_length": meta.get("n_embd"),
        "general.parameter_count": meta.get("n_params"),
    }
    return {
        "license": "",
        "modelfile": "",
        "parameters": f"num_ctx {context}" if context else "",
        "template": "{{ .Prompt }}",
        "details": details,
        "model_info": {
            "general.architecture": family,
            "general.basename": str(model.info.extras.get("name") or model.id),
            **{key: number for key, number in numbers.items() if type(number) is int},
        },
        "capabilities": _capabilities(model),
        "modified_at": _modified_at(model, created),
    }


def _modified_at(model: Model, created: int) -> str:
    said = model.info.card.get("modified_at")
    if model.info.created and isinstance(said, str):  # it was read as a date
        return said
    return rfc3339(model.info.created or created)


def _details(model: Model) -> Json:
    """All of Ollama's members, in its types."""
    info = model.info
    said, meta = _table(info.card.get("details")), _table(info.card.get("meta"))
    made: Json = {name: said[name] if isinstance(said.get(name), str) else "" for name in _TEXTS}
    made["family"] = made["family"] or info.owned_by or model.provider.name
    if not made["parameter_size"] and type(meta.get("n_params")) is int:
        made["parameter_size"] = f"{meta['n_params'] / 1e9:.1f}B"
    families = said.get("families")
    named = [name for name in families if isinstance(name, str)] if isinstance(families, list) else []
    return {**made, "families": named or [made["family"]]}


def _context(model: Model) -> int | None:
    """The length of the context in tokens, by whatever name the upstream has for it."""
    info = model.info
    found = [info.extras.get(name) for name in _CONTEXTS] + [_table(info.card.get("meta")).get("n_ctx_train")]
    return next((length for length in found if type(length) is int and length > 0), None)


def _capabilities(model: Model) -> list[str]:
    """Ollama's own list; else by what OpenRouter and Mistral say of a model, or what is usual."""
    info = model.info
    said = info.card.get("capabilities")
    if found := _known(said):
        return found
    parameters = info.extras.get("supported_parameters")
    parameters = parameters if isinstance(parameters, list) else ["tools"]
    modalities = _table(info.card.get("architecture")).get("input_modalities")
    flags = _table(said)
    found = ["completion"]
    if "tools" in parameters and flags.get("function_calling") is not False:
        found.append("tools")
    if flags.get("vision") is True or (isinstance(modalities, list) and "image" in modalities):
        found.append("vision")
    if "reasoning" in parameters:
        found.append("thinking")
    return found


def _known(said: object) -> list[str]:
    return [name for name in said if isinstance(name, str) and name in _CAPABILITIES] if isinstance(said, list) else []


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
