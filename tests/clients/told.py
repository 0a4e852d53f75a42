"""An answer for upstreams to tell: scripts, emoji, and what readers of JSON and of lines trip over."""

from answers import DONE, finish, role, text, usage

__all__ = ["SAID", "TOLD", "WORDS"]

WORDS = [
    "Вода",
    " течёт",
    ": 🌊",
    " 水の流れ",
    "。 বাংলা",
    " \u2028\u2029\x85\x0b\x1c",  # to Unicode, these are ends of lines
    '"\\</script>',
    " 👩\u200d👧 e\u0301",
]
SAID = "".join(WORDS)
TOLD = [role(), *map(text, WORDS), finish(), usage(9, 8), DONE]
