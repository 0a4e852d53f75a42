"""About how many tokens a request takes, before anybody has counted: for limits, budgets and windows.

Nothing is tokenised. A prompt has a token for each four bytes of its JSON, which is about right for English and on the
safe side for most else; pictures and sounds in base64 are left out and count as `ATTACHMENT` each. An answer may have
as many tokens as the largest bound that the request sets, in whatever dialect, times the answers that it asks for: the
upstream obeys one of them, and nobody here knows which. What is estimated is put right when the upstream has counted.

Cost: half a microsecond for a short body; large ones are looked through for base64, quote by quote: a millisecond for
each twenty thousand of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..protocol.chat import MOST_TOKENS

if TYPE_CHECKING:
    from ..protocol.members import Members

__all__ = ["ATTACHMENT", "BYTES_PER_TOKEN", "answer", "prompt", "upload"]

BYTES_PER_TOKEN = 4

USUAL_ANSWER = 1024
"""Tokens of an answer whose request sets no bound, about."""

ATTACHMENT = 800
"""Tokens of a picture or a sound: between those of a small picture and a large one."""

UPLOAD_BYTES_PER_TOKEN = 1000
"""Of recorded speech: a second is about ten tokens, and between 3 kB (Opus) and 32 kB (WAV)."""

_LONG = 8192
"""Bytes of base64 that are taken for an attachment; a body that is no longer has none."""

_BASE64 = re.compile(rb'"(?:data:[^",]{0,200},)?[A-Za-z0-9+/=\\]{%d}' % _LONG)
_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "n_predict")
_TIMES = ("n", "best_of")
_READ = frozenset([*_BOUNDS, *_TIMES, "options"])


def prompt(body: bytes) -> int:
    """Tokens of a request's body."""
    size, attachments = len(body), 0
    if size > _LONG:
        found = _BASE64.search(body)
        while found is not None:
            end = body.find(b'"', found.end())
            if end < 0:
                break
            size -= end - found.start()
            attachments += 1
            found = _BASE64.search(body, end + 1)
    return size // BYTES_PER_TOKEN + 1 + attachments * ATTACHMENT


def answer(body: Members) -> int:
    """Tokens that the answers to a request may have at most, as far as it says."""
    named = _READ.intersection(body.names())
    if not named:
        return USUAL_ANSWER
    said = [body.value(name) for name in named.intersection(_BOUNDS)]
    if "options" in named and isinstance(options := body.value("options"), dict):  # where Ollama has them
        said += [options.get("num_predict")]
    most = max(map(_whole, said), default=0) or USUAL_ANSWER
    times = max([_whole(body.value(name)) for name in named.intersection(_TIMES)], default=0) or 1
    return min(most * times, MOST_TOKENS)


def upload(size: int) -> int:
    """Tokens of a file of so many bytes."""
    return size // UPLOAD_BYTES_PER_TOKEN + 1


def _whole(value: Any) -> int:
    """A bound, however it is written; 0 for what bounds nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, MOST_TOKENS))
