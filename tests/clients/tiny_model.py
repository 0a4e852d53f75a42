"""A model whose reply is known in advance, as a GGUF file that llama.cpp loads like any other.

A llama of one layer, with every weight laid out by hand. The embedding of token i is the i-th unit vector;
attention and feed-forward have zero output weights, so the layer adds nothing; the norm only scales. Row j of
the output matrix is large in column i exactly where j is the successor of i. So the next token depends on the
last one alone, at any temperature: the tokens of `PIECES` in order, then the end token.

The prompt does not matter, since the chat template ends it with a control token whose successor is the first
piece. The vocabulary is that of SentencePiece models: 256 byte tokens, which spell whatever has no token of
its own. Some pieces are such byte tokens, so that single characters of the reply come in two, three and four
tokens, and it is llama.cpp itself that must hold half of a character back. A token has one successor; so each
byte may appear once in the reply.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

__all__ = ["PIECES", "REPLY", "write_model"]

PIECES: list[str | bytes] = [
    "Вода",
    " те",
    b"\xd1",  # ч, in two tokens
    b"\x87",
    "ёт",
    ": ",
    b"\xf0",  # 🌊, in four
    b"\x9f",
    b"\x8c",
    b"\x8a",
    " и ",
    "水",
    b"\xe3",  # の, in three
    b"\x81",
    b"\xae",
    "流れ",
    "。",
    "👩‍👩‍👧",  # one token, five code points
    "\n",
    b"\xd0",  # Ж, in two
    b"\x96",
    "дём",
    '"\\',  # what JSON must escape
    "e\u0301",
    "…",
]
"""The reply, token by token: text has a token of its own, a byte is one of the byte tokens."""

REPLY = b"".join(p if isinstance(p, bytes) else p.encode() for p in PIECES).decode()

_UNKNOWN, _BEGIN, _END, _GO = "<unk>", "<s>", "</s>", "<|go|>"
_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}" + _GO
_CONTEXT = 4096
_CERTAIN = 100.0


def write_model(path: Path) -> None:
    """Write the model, some 2 MB of 32-bit floats, to `path`."""
    kinds = gguf.TokenType
    vocabulary = {_UNKNOWN: kinds.UNKNOWN, _BEGIN: kinds.CONTROL, _END: kinds.CONTROL}
    vocabulary |= {_byte_token(value): kinds.BYTE for value in range(256)}
    vocabulary |= {_GO: kinds.CONTROL}
    vocabulary |= {_text_token(piece): kinds.NORMAL for piece in PIECES if isinstance(piece, str)}
    tokens = list(vocabulary)
    width = len(tokens) + len(tokens) % 2  # the rotation of attention heads takes dimensions in pairs

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(2)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(width)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(list(vocabulary.values()))
    writer.add_unk_token_id(tokens.index(_UNKNOWN))
    writer.add_bos_token_id(tokens.index(_BEGIN))
    writer.add_eos_token_id(tokens.index(_END))
    writer.add_add_space_prefix(False)
    writer.add_chat_template(_TEMPLATE)
    for name, values in _weights(_successors(tokens), len(tokens), width).items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _successors(tokens: list[str]) -> dict[int, int]:
    """Which token follows which; a token that is no part of the reply is followed by its first piece."""
    chain = [_GO, *(_byte_token(p[0]) if isinstance(p, bytes) else _text_token(p) for p in PIECES), _END]
    numbers = [tokens.index(token) for token in chain]
    if len(set(numbers)) < len(numbers):
        raise ValueError("a token has one successor, so no piece may appear twice in the reply")
    return dict.fromkeys(range(len(tokens)), numbers[1]) | dict(pairwise(numbers))


def _weights(successors: dict[int, int], count: int, width: int) -> dict[str, np.ndarray]:
    output = np.zeros((count, width))
    for token, successor in successors.items():
        output[successor, token] = _CERTAIN
    square, one, none = np.zeros((width, width)), np.ones(width), np.zeros((2, width))
    return {
        "token_embd.weight": np.eye(count, width),
        "blk.0.attn_norm.weight": one,
        "blk.0.attn_q.weight": square,
        "blk.0.attn_k.weight": square,
        "blk.0.attn_v.weight": square,
        "blk.0.attn_output.weight": square,
        "blk.0.ffn_norm.weight": one,
        "blk.0.ffn_gate.weight": none,
        "blk.0.ffn_up.weight": none,
        "blk.0.ffn_down.weight": none.T.copy(),
        "output_norm.weight": one,
        "output.weight": output,
    }


def _byte_token(value: int) -> str:
    return f"<0x{value:02X}>"


def _text_token(text: str) -> str:
    return text.replace(" ", "\u2581")  # as SentencePiece writes a space
