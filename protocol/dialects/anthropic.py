"""Anthropic's Messages (`/v1/messages`). See the modules `anthropic_*` for how.

What comes in is read leniently, what goes out is canonical.
"""

from __future__ import annotations

from .anthropic_body import decode_response, encode_response, mend_response
from .anthropic_encoder import StreamEncoder
from .anthropic_passage import Passage
from .anthropic_request import decode_request, encode_request
from .anthropic_stream import StreamDecoder
from .anthropic_terms import encode_error
from .failures import decode_error

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
