"""OpenAI's chat dialect, and what a hundred servers make of it. See the modules `openai_*` for how.

What comes in is read leniently, what goes out is canonical.
"""

from __future__ import annotations

from .failures import decode_error, encode_error
from .openai_body import decode_response, encode_response, mend_response
from .openai_request import decode_request, encode_request
from .openai_stream import Passage, StreamDecoder, StreamEncoder

__all__ = [
    "Passage",
    "StreamDecoder",
    "StreamEncoder",
    "decode_error",
    "decode_request",
    "decode_response",
    "encode_error",
    "encode_request",
    "encode_response",
    "mend_response",
]
