"""The means to write shapes of JSON, as JSON Schema has them."""

from __future__ import annotations

from typing import Any

__all__ = ["COUNT", "FLAG", "TEXT", "WHOLE", "Json", "array", "obj", "passed", "ref", "word"]

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
WHOLE: Json = {"type": "integer"}
COUNT: Json = {"type": "integer", "minimum": 0}
FLAG: Json = {"type": "boolean"}


def ref(name: str) -> Json:
    """A shape by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Json, **more: Any) -> Json:
    """A list of things of this shape."""
    return {"type": "array", "items": items, **more}


def obj(required: Json, optional: Json | None = None, about: str = "", **more: Any) -> Json:
    """An object with these members; it may have others."""
    told: Json = {"type": "object", "properties": {**required, **(optional or {})}}
    if required:
        told["required"] = list(required)
    return {**told, **({"description": about} if about else {}), **more}


def word(*words: str) -> Json:
    return {"type": "string", "enum": list(words)}


def passed(about: str, **more: Any) -> Json:
    """A member that is passed on as it stands."""
    return {"description": about, **more}
