"""Embeddings as Ollama's clients ask for them: `/api/embed`, and the older `/api/embeddings` for one text.

An upstream of Ollama's kind is asked in its own words, any other at its `/v1/embeddings`. The numbers are never read:
what stands between the brackets goes out as the upstream wrote it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ..protocol import jsontext
from ..protocol.chat import Ending, Failed, Usage, counted
from ..protocol.dialects.ollama import Times
from ..protocol.dialects.source import malformed
from ..protocol.passing import Document
from .forward import JSON, Forward, JsonCargo

if TYPE_CHECKING:
    from ..protocol.members import Members
    from ..providers.catalog import Target
    from ..providers.provider import Provider
    from ..providers.settings import Operation
    from ..providers.transport import UpstreamRequest
    from .call import Call
    from .work import Passing

__all__ = ["EmbedLikeOllama", "answer"]

_THEIRS = ("options", "keep_alive")
"""Members of a request for one text that only Ollama knows."""


class _Row(msgspec.Struct):
    """One of OpenAI's embeddings."""

    embedding: msgspec.Raw
    index: int = 0


class _Vectors(msgspec.Struct):
    """An answer of either kind, as far as it is needed."""

    data: list[_Row] = []
    embeddings: list[msgspec.Raw] = []
    prompt_eval_count: int | None = None


_decode = msgspec.json.Decoder(_Vectors).decode


def answer(model: str, vectors: list[bytes], tokens: int, times: Times, *, single: bool) -> bytes:
    """What Ollama's clients read: all the vectors, or the `single` one that the older endpoint gives."""
    if single:
        return b'{"embedding":%b}' % (vectors[0] if vectors else b"[]")
    total = times.durations()["total_duration"]
    counts = {"total_duration": total, "load_duration": 0, "prompt_eval_count": tokens}
    head = jsontext.dumps({"model": model})[:-1]
    return b'%b,"embeddings":[%b],%b' % (head, b",".join(vectors), jsontext.dumps(counts)[1:])


class EmbedLikeOllama(Forward):
    """Embeddings of the texts in the member `name` of the body: `input`, or the older endpoint's `prompt`."""

    __slots__ = ("_body", "_name", "_times", "single")

    deadline = "embeddings"

    def __init__(self, body: Members, name: str, times: Times) -> None:
        super().__init__("embeddings", JsonCargo(body))
        self._body = body
        self.single = name == "prompt"
        self._name = name
        self._times = times

    @property
    def size(self) -> int:
        """See `Work`."""
        return len(self._body.body)

    def source(self, provider: Provider) -> Operation:
        """Ollama's own operation if the upstream has it."""
        return "ollama_embed" if "ollama_embed" in provider.operations else "embeddings"

    def request(self, call: Call, target: Target) -> UpstreamRequest:
        """The texts, in the words of this upstream."""
        operation = self.source(target.provider)
        body = self._body_for(operation, target.model)
        return target.provider.request(operation, body, JSON, request_id=call.request_id, headers=call.forward)

    def _body_for(self, operation: Operation, model: str) -> bytes:
        body = self._body
        if operation == "ollama_embed" and not self.single:
            return JsonCargo(body).load(model)
        wanted = {"model": model, "input": body.value(self._name)}
        if operation == "ollama_embed":
            return jsontext.dumps(wanted | {name: body.value(name) for name in _THEIRS if name in body})
        dimensions = body.value("dimensions")
        return jsontext.dumps(
            wanted | {"encoding_format": "float"} | ({"dimensions": dimensions} if dimensions else {})
        )

    def passing(self, call: Call, source: str, content_type: str | None, clean: Callable[[Failed], Failed]) -> Passing:
        """The upstream's document, told as Ollama's."""
        return _Told(self, call, clean, as_it_is=source == "ollama_embed" and not self.single)

    def told(self, model: str, found: _Vectors) -> bytes:
        """The answer to the client."""
        rows = [bytes(row.embedding) for row in sorted(found.data, key=lambda row: row.index)]
        vectors = rows or [bytes(vector) for vector in found.embeddings]
        return answer(model, vectors, found.prompt_eval_count or 0, self._times, single=self.single)


class _Told(Document):
    """A document with vectors, by OpenAI or by Ollama, to one of Ollama's; or `as_it_is`."""

    __slots__ = ("_as_it_is", "_call", "_work")

    def __init__(self, work: EmbedLikeOllama, call: Call, clean: Callable[[Failed], Failed], *, as_it_is: bool) -> None:
        limits = call.limits
        super().__init__(
            JSON, form="float", max_message_bytes=limits.message_bytes, json_depth=limits.json_depth, clean=clean
        )
        self._as_it_is = as_it_is
        self._work = work
        self._call = call

    @property
    def ending(self) -> Ending | None:
        """A document that ended well may yet be of no use."""
        ending = super().ending
        return Ending("failed") if ending == Ending("completed") and self.failed is not None else ending

    def close(self) -> bytes:
        """The body is complete."""
        body = super().close()
        if not body:
            return b""
        try:
            found = _decode(body)
        except (msgspec.DecodeError, RecursionError):
            found = _Vectors()
        if not (found.data or found.embeddings):
            self.failed = malformed("there are no embeddings in it")
            return b""
        if self.usage is not None:
            found.prompt_eval_count = self.usage.prompt
        elif found.prompt_eval_count is not None:
            count = counted(found.prompt_eval_count)
            self.usage = Usage(count, 0, count)
        return body if self._as_it_is else self._work.told(self._call.model, found)
