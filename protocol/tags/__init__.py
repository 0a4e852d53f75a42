"""Structure that models write into their text: reasoning, and tool calls, taken out of it as events of their own.

    <think>…</think>                          reasoning
    <tool_call>{"name": …}</tool_call>        a tool call, as Qwen's and Hermes' models write it
    <read_file><path>…</path></read_file>     a tool call, as Cline and Roo Code ask for it

Nothing is looked for that was not asked for: some clients do this themselves and want the text as it came, and a text
may be about tags. `Splitter` splits the text of one choice, `Events` the texts in the events of a stream.
"""

from __future__ import annotations

from .events import Events, parameters_of, split_answer
from .splitter import MAX_HELD, MAX_LEADING, Splitter, Structures

__all__ = ["MAX_HELD", "MAX_LEADING", "Events", "Splitter", "Structures", "parameters_of", "split_answer"]
