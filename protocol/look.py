"""The look: one glance at a run of frames that proves all of them ordinary, so that none has to be parsed.

Nearly every frame of a chat stream differs from the one before in a single string. So when a frame was
parsed and its outcome depends on nothing but that string's text, its shape is learned as a template:

    data: {"id":"c1", ... "delta":{"content":"Hel"},"finish_reason":null}]}\\n\\n
    `---------- head ------------------------´   `------- tail ------------´

A run is then ordinary if taking `tail + head` out between its first head and its last tail leaves nothing but
texts: pieces of JSON strings that need no mending. That is a proof and no guess: a hole without bare quotes,
broken escapes and control characters cannot end its string, so each frame parses to exactly what the learned
one did, but for the text; and the run holds no CR (`sse.Blocks` took them), so CR can mark the places where
something was taken out. A shape may have a second hole, as OpenAI adds a random `obfuscation` to each chunk.

What goes out for a template was learned too, from the same machinery that mends parsed frames, run on a
probe. Where it equals what came in, a run passes through uncopied.

Texts must be UTF-8, without raw U+2028, U+2029, U+0085 (clients that split lines the Unicode way break on
them) and without halves of surrogate pairs. Cost: two passes of C code over a run, and a regex over its texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["Look"]

_TEXT = (
    rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD](?:[0-7][0-9a-fA-F]{2}'
    rb'|[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))[^"\\\x00-\x1f]*+)*+'
)
_NEXT, _SECOND = b"\rb", b"\ra"  # marks for "tail and head were here" and "the middle was here"
_text = re.compile(_TEXT).match
_one_hole = re.compile(rb"%b(?:\rb%b)*+" % (_TEXT, _TEXT)).fullmatch
_two_holes = re.compile(rb"%b\ra%b(?:\rb%b\ra%b)*+" % (_TEXT, _TEXT, _TEXT, _TEXT)).fullmatch
_one_text = re.compile(  # UTF-8 as it is defined, without U+2028, U+2029 and U+0085
    rb'(?:[\x20!#-\[\]-\x7f]++|\\["\\/bfnrt]|[\xc3-\xdf][\x80-\xbf]|\xc2[\x80-\x84\x86-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]'
    rb"|\xe2(?!\x80[\xa8\xa9])[\x80-\xbf]{2}|[\xe1\xe3-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})*+"
).fullmatch
_breaks = re.compile("[\u2028\u2029\x85]").search
_field = re.compile(rb'"(content|reasoning_content|reasoning|refusal|arguments)": ?"')
_filler = re.compile(rb'"obfuscation": ?"([A-Za-z0-9]*)"')
_PROBE = b"<the probe of penstock>"
_FILLER_PROBE = b"<the filler of penstock>"
_MAX_TEMPLATES = 4
_LESSONS = 16


class _Template:
    """Head, middle (b"" if there is one hole only) and tail of a frame, as it comes and as it goes out.

    `overhead` is the length of its JSON without the texts.
    """

    __slots__ = ("head", "joint", "middle", "out", "overhead", "tail")

    def __init__(self, head: bytes, middle: bytes, tail: bytes) -> None:
        self.head, self.middle, self.tail = head, middle, tail
        self.joint = tail + head
        self.out: tuple[bytes, bytes, bytes] | None = None  # None: as it came
        self.overhead = 0


class Look:
    """The templates of one stream.

    `mend` makes of an event what goes out, with the length of its JSON; or None where no template may be made.
    """

    __slots__ = ("_lessons", "_mend", "_plain", "_templates", "frames", "largest")

    def __init__(self, mend: Callable[[bytes], tuple[bytes, int] | None]) -> None:
        self._mend = mend
        self._templates: list[_Template] = []
        self._lessons = _LESSONS
        self._plain: tuple[bytes, bytes, int, int] | None = (
            None  # the first template, if it has one hole and no mending
        )
        self.frames = 0  # that the last successful look passed
        self.largest = 0  # of those, the largest

    def forget(self) -> None:
        """What was learned does not hold any more."""
        self._templates.clear()
        self._plain = None

    def passes(self, frame: bytes) -> bool:
        """Whether `frame` is exactly one ordinary frame that goes out as it came: `glance` for tokens that
        come one by one, in as few steps as can be. False may also mean that it takes a closer look."""
        plain = self._plain
        return (
            plain is not None
            and frame.startswith(plain[0])
            and frame.endswith(plain[1])
            and _one_text(frame, plain[2], len(frame) - plain[3]) is not None
        )

    def glance(self, run: bytes) -> bytes | None:
        """What goes out for a run (or one event with its blank line) if all of it is ordinary, else None."""
        for template in self._templates:
            if run.startswith(template.head) and run.endswith(template.tail):
                out = self._fill(template, run)
                if out is not None:
                    if template is not self._templates[0]:
                        self._templates.remove(template)
                        self._put_first(template)
                    return out
        return None

    def _fill(self, template: _Template, run: bytes) -> bytes | None:
        head, tail = len(template.head), len(template.tail)
        if len(run) < head + tail:
            return None
        texts = run[head:-tail].replace(template.joint, _NEXT)
        if template.middle:
            texts = texts.replace(template.middle, _SECOND)
            if not _two_holes(texts):
                return None
        elif not _one_hole(texts):
            return None
        if not texts.isascii():
            try:
                if _breaks(texts.decode()):
                    return None
            except UnicodeDecodeError:
                return None
        self.frames = frames = texts.count(_NEXT) + 1
        longest = len(texts) if frames == 1 else max(map(len, texts.split(_NEXT)))
        self.largest = longest + template.overhead - (len(_SECOND) if template.middle else 0)
        if template.out is None:
            return run
        # Where something is mended, an empty text may be treated otherwise than the probe was, and other
        # spellings of a character are not kept.
        if b"\\u" in texts or b"\\/" in texts:
            return None
        if not all(text and not text.startswith(_SECOND) for text in texts.split(_NEXT)):
            return None
        head_out, middle_out, tail_out = template.out
        texts = texts.replace(_NEXT, tail_out + head_out)
        return b"".join((head_out, texts.replace(_SECOND, middle_out) if middle_out else texts, tail_out))

    def learn(self, block: bytes, *, passed: bool = False) -> None:
        """Make a template of an event that was just parsed, if it is of a shape that allows one.

        `passed`: it goes out as it came. What decided that is there in every event of its shape; where
        something was mended, a probe shows what is made of the shape.
        """
        if self._lessons == 0:
            return
        fields = list(_field.finditer(block))
        if len(fields) != 1 or b"\r" in block:
            return
        start = fields[0].end()
        end = _text(block, start).end()  # type: ignore[union-attr]  # it matches everywhere
        tail = block[end:] + b"\n\n"
        middle, filler = b"", _filler.search(tail)
        if filler is not None:
            middle, tail = tail[: filler.start(1)], tail[filler.end(1) :]
        self._lessons -= 1
        head = block[:start]
        if passed and end > start:  # of an empty text, more may be let pass
            template = _Template(head, middle, tail)
            template.overhead = len(head) + len(middle) + len(tail) - len(b"data: \n\n")
            self._put_first(template)
            return
        probe = b"".join((head, _PROBE, middle, _FILLER_PROBE if middle else b"", tail))
        mended = self._mend(probe[:-2])
        if mended is None:
            return
        out, size = mended
        if out.count(_PROBE) != 1 or out.count(_FILLER_PROBE) != bool(middle):
            return
        template = _Template(head, middle, tail)
        template.overhead = size - len(_PROBE) - (len(_FILLER_PROBE) if middle else 0)
        if out != probe:
            head_out, _, rest = out.partition(_PROBE)
            middle_out, _, tail_out = rest.partition(_FILLER_PROBE) if middle else (b"", b"", rest)
            template.out = head_out, middle_out, tail_out
        self._put_first(template)

    def _put_first(self, template: _Template) -> None:
        self._templates.insert(0, template)
        del self._templates[_MAX_TEMPLATES:]
        head, tail = template.head, template.tail
        self._plain = None if template.out or template.middle else (head, tail, len(head), len(tail))
