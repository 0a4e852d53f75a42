"""Counts of tokens as upstreams say them: whatever they are, what is counted can be added up and written down."""

import pytest

from penstock.protocol.chat import MOST_TOKENS, counted
from penstock.protocol.dialects import anthropic_terms, ollama_lines, openai_stream, responses_object
from penstock.protocol.passing import usage

OF = {
    "openai": (openai_stream.usage_of, ("prompt_tokens", "completion_tokens")),
    "anthropic": (anthropic_terms.usage_of, ("input_tokens", "output_tokens")),
    "responses": (responses_object.usage_of, ("input_tokens", "output_tokens")),
    "ollama": (ollama_lines.usage_of, ("prompt_eval_count", "eval_count")),
    "passing": (usage, ("prompt_tokens", "completion_tokens")),
}


@pytest.mark.parametrize(
    ("said", "means"),
    [(0, 0), (7, 7), (-7, 0), (True, 0), (7.5, 0), ("7", 0), (None, 0), ([7], 0), (2**53 + 1, 2**53), (10**400, 2**53)],
)
def test_a_count_is_a_whole_number_that_everybody_can_hold(said, means):
    assert counted(said) == means


@pytest.mark.parametrize("dialect", OF)
def test_no_dialect_counts_beyond_the_most(dialect):
    usage_of, (prompt, completion) = OF[dialect]
    found = usage_of({prompt: 10**400, completion: 10**400, "total_tokens": 10**400})
    assert (found.prompt, found.completion) == (MOST_TOKENS, MOST_TOKENS)
    assert found.total <= 2 * MOST_TOKENS
    assert usage_of({prompt: 10, completion: -20})[:2] == (10, 0)
