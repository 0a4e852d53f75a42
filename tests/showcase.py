"""The examples: what each prints when it is run without arguments, and a way to run one as its reader does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["EXAMPLES", "NEEDS", "PRINTS", "SECONDS", "run"]

EXAMPLES = Path(__file__).parents[1] / "examples"
SECONDS = 30

PRINTS = {
    "bytes_to_events.py": [
        "Text(text='Привіт, ', choice=0)",
        '"content":"বাংলা 👋"},"done":false}',
        "the upstream closed the connection before its answer was complete",
    ],
    "with_asyncio.py": ["Привіт, বাংলা 👋\n", "finished: stop\n", "9 tokens in, 4 out\n"],
    "with_threads.py": [f"{name}: Привіт, বাংলা 👋 (stop, 13 tokens)\n" for name in ("openai", "ollama")],
    "with_requests.py": ["weather(place='Київ 🌧', days=3)\n", "finished: tool_calls\n"],
    "with_anyio.py": ["asyncio: Привіт, বাংলা 👋\n", "trio: Привіт, বাংলা 👋\n"],
    "asgi_app.py": ["HTTP 200\n", '"content":"বাংলা"},"done":false}', '"prompt_eval_count":9,"eval_count":4}'],
    "mcp_client.py": [
        "  spelling: 3 of 3\n",
        "ব BENGALI LETTER BA\n",
        "wait: cancelled; requests without an answer",
    ],
}
NEEDS = {"with_requests.py": "requests", "with_anyio.py": "anyio, trio"}
"""What an example needs besides penstock; the others run on the bare wheel."""


def run(name: str, *arguments: str, python: str | Path = sys.executable) -> str:
    """What an example prints; nothing may go wrong in it, not even at its end."""
    done = subprocess.run(
        [python, "-X", "dev", EXAMPLES / name, *arguments],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
