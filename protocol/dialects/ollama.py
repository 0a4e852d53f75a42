"""Ollama's `/api/chat`. See the modules `ollama_*` for how."""

from __future__ import annotations

from .failures import decode_error
from .ollama_body import Body, decode_response
from .ollama_lines import CHAT, Times, encode_error
from .ollama_passage import Passage
from .ollama_request import decode_request, encode_request, load_reason
from .ollama_stream import StreamDecoder, StreamEncoder

__all__ = [
    "Passage",
    "StreamDecoder",
    "StreamEncoder",
    "Times",
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

_body = Body(CHAT)
encode_load, encode_response, mend_response = _body.encode_load, _body.encode_response, _body.mend_response
