"""Parts of a message: OpenAI's content parts to Anthropic's blocks, and back.

Text and images go both ways, a PDF travels as a `file`. A block's `cache_control` is taken from OpenAI's side, where
clients put it for the sake of Anthropic, and never given to it: other servers reject it. Blocks that would be
empty are left out, as Anthropic rejects them.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import RemoteProtocolError
from .openai_request import invalid

__all__ = ["decode_parts", "encode_parts", "objects", "refuse"]

Json = dict[str, Any]

_DATA_URL = re.compile(r"data:([^;,]+)(?:;[^,]*)?;base64,", re.IGNORECASE)
_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def refuse(what: str) -> RemoteProtocolError:
    """What was asked for cannot be said in the other dialect, and leaving it out would change the question."""
    return invalid(what, "unsupported_parameter")


def objects(value: Any) -> list[Json]:
    """The objects in a list, or none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


# -- neutral to Anthropic ---------------------------------------------------------------------------------


def encode_parts(content: Any) -> list[Json]:
    """Content of a message as blocks. Raises RemoteProtocolError (400) for what Anthropic cannot be shown."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = []
    for part in objects(content):
        block = _encode_part(part)
        if block is not None:
            marked = part.get("cache_control")
            blocks.append({**block, "cache_control": marked} if isinstance(marked, dict) else block)
    return blocks


def _encode_part(part: Json) -> Json | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = part.get(str(kind))
        return {"type": "text", "text": text} if isinstance(text, str) and text.strip() else None
    if kind == "image_url":
        image = part.get("image_url")
        return {"type": "image", "source": _image(image.get("url") if isinstance(image, dict) else image)}
    if kind == "file":
        return {"type": "document", **_document(part.get("file"))}
    raise refuse(f"a content part of type '{kind}' cannot be sent to this model")


def _image(url: Any) -> Json:
    if not isinstance(url, str):
        raise invalid("'image_url' must have a 'url'")
    found = _DATA_URL.match(url)
    if found is None:
        if not url.lower().startswith(("https://", "http://")):
            raise invalid("an image must be a data URL (data:image/png;base64,...) or a web address")
        return {"type": "url", "url": url}
    kind = found[1].lower().replace("image/jpg", "image/jpeg")
    if kind not in _IMAGES:
        raise invalid("this model takes images as png, jpeg, gif or webp only")
    return {"type": "base64", "media_type": kind, "data": url[found.end() :]}


def _document(file: Any) -> Json:
    file = file if isinstance(file, dict) else {}
    title = {"title": file["filename"]} if isinstance(file.get("filename"), str) else {}
    if isinstance(file.get("file_id"), str):
        return {"source": {"type": "file", "file_id": file["file_id"]}, **title}
    data = file.get("file_data")
    found = _DATA_URL.match(data) if isinstance(data, str) else None
    if found is None or found[1].lower() != "application/pdf":
        raise invalid("this model takes files as PDF in a data URL (data:application/pdf;base64,...) only")
    source = {"type": "base64", "media_type": "application/pdf", "data": str(data)[found.end() :]}
    return {"source": source, **title}


# -- Anthropic to neutral ---------------------------------------------------------------------------------


def decode_parts(content: Any) -> list[Json]:
    """Blocks, or a string, as content parts. Blocks of tools, of reasoning and of unknown types are none."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for block in objects(content) for part in _decode_block(block)]


def _decode_block(block: Json) -> list[Json]:
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    match block.get("type"), source.get("type"):
        case "text", _:
            return _text(block.get("text"))
        case "search_result", _:
            return [*_text(block.get("title")), *_text(block.get("source")), *decode_parts(block.get("content"))]
        case "image", "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return [{"type": "image_url", "image_url": {"url": url}}]
        case "image", "url":
            return [{"type": "image_url", "image_url": {"url": source.get("url")}}]
        case "document", "text":
            return [*_text(block.get("title")), *_text(source.get("data"))]
        case "document", "content":
            return [*_text(block.get("title")), *decode_parts(source.get("content"))]
        case "document", "base64":
            url = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return [{"type": "file", "file": {"filename": block.get("title") or "document.pdf", "file_data": url}}]
        case (("image" | "document" as kind), form):
            raise refuse(f"a block of type '{kind}' from a source of type '{form}' cannot be sent to this model")
    return []


def _text(text: Any) -> list[Json]:
    return [{"type": "text", "text": text}] if isinstance(text, str) and text else []
