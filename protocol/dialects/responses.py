"""OpenAI's Responses API: requests, streams and whole answers, to and from what all dialects have in common.

See the modules `responses_*` for how. One choice, items instead of messages, typed events instead of chunks.
"""

from __future__ import annotations

from .failures import decode_error, encode_error
from .responses_body import decode_response, encode_response, mend_response
from .responses_decoder import StreamDecoder
from .responses_encoder import StreamEncoder
from .responses_passage import Passage
from .responses_request import decode_request, encode_request

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
