"""Blocks of a note: its lines, with those joined again that a fixed line width has cut.

A line is a unit of its own (a heading, an item, a row) unless the layout says that its break was
put in by a program that ran out of columns: the next word would not have fitted, the lines around
are as long, or the words themselves say that the line goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from spanlake.core.sections import heading

LINE = re.compile(r"[^\n\r\v\f\x85\u2028\u2029]+")
MARKER = re.compile(r"(?:\(?(?:\d{1,2}|[A-Za-z])\s?[.)]|[-*•·▪►●○+>#]+|--+)(?=\s|$)")
BARE_MARKER = re.compile(r"(?:\(?\d{1,2}\s?[.)]{1,2}|[-*•·▪►●○])$")
LABEL = re.compile(r"[A-Z][^:;.]{0,30}:(?:\s|$)")
RULE = re.compile(r"[-=_*~#]{3,}$")
FIRST_WORD = re.compile(r"\S{1,30}")
ENDED = (".", "!", "?", ":", "…")
NEIGHBOURS = 12  # lines of a stretch; a line's neighbourhood is its stretch and the ones beside it
WIDTHS = range(56, 141)  # columns that programs wrap at
SHORTEST = 40  # a line below that was ended by somebody, not by a program
RAGGED = 12  # wrapped lines end at most so far before the width: longer words are rare
# No unit ends in one of these, so the next line continues it.
OPEN = frozenset(
    """a an and any are at been by either every for from has have her his in into is of on or over
    per that the their than this to until was were which who will with without""".split()
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line without the white space around it; `gap` tells that an empty line stands above."""

    start: int
    text: str
    gap: bool

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def lines_of(note_text: str) -> Iterator[Line]:
    """Yield the lines that are not blank, at any of the line breaks that Unicode knows."""
    last = 0
    for found in LINE.finditer(note_text):
        text = found.group().strip()
        if text:
            start = found.start() + len(found.group()) - len(found.group().lstrip())
            between = note_text[last:start]
            yield Line(start, text, max(between.count("\n"), between.count("\r")) > 1)
            last = start + len(text)


def blocks_of(note_text: str) -> Iterator[list[Line]]:
    """Yield lists of lines, in order, that belong together: mostly one line each."""
    lines = list(lines_of(note_text))
    widths = _widths(lines)
    block = lines[:1]
    for (above, below), width in zip(pairwise(lines), widths, strict=False):
        if not _continues(above, below, width):
            yield block
            block = []
        block.append(below)
    if block:
        yield block


def _widths(lines: list[Line]) -> Iterator[int]:
    """Yield for each line the width that its neighbourhood is wrapped at, 0 where it is not."""
    stretches = [lines[i : i + NEIGHBOURS] for i in range(0, len(lines), NEIGHBOURS)]
    for i, stretch in enumerate(stretches):
        width = _width([line.text for near in stretches[max(0, i - 1) : i + 2] for line in near])
        yield from [width] * len(stretch)


def _width(texts: list[str]) -> int:
    """Return the longest line's length if lines crowd just below it and some are torn, else 0.

    A list may have lines of like length too, but then each begins like a line of its own.
    """
    width = max((len(text) for text in texts if len(text) in WIDTHS), default=0)
    if not width:
        return 0
    body = [text for text in texts if len(text) > 0.6 * width]
    full = sum(width - RAGGED <= len(text) <= width for text in body)
    torn = sum(text[0].islower() or text.isupper() or bool(MARKER.match(text)) for text in texts)
    return width if full >= max(2, 0.4 * len(body)) and torn >= 0.2 * full else 0


def _continues(above: Line, below: Line, width: int) -> bool:
    """Tell whether the line break between two lines is to be ignored."""
    if RULE.match(below.text):
        return heading(above.text, alone=True) is not None and not below.gap
    if below.gap or RULE.match(above.text):
        return False
    if above.text.rfind("[**") > above.text.rfind("**]"):
        return True
    if BARE_MARKER.match(above.text):
        return not (MARKER.match(below.text) or heading(below.text))
    if not SHORTEST <= len(above.text) <= WIDTHS[-1]:
        return False
    last = above.text.rsplit(None, 1)[-1].lower()
    if last in OPEN:
        return not heading(below.text)
    if MARKER.match(below.text) or heading(below.text):
        return False
    full, ended = _full(above, below, width), above.text.endswith(ENDED) and "." not in last[:-1]
    if LABEL.match(below.text):
        return full and not ended and not LABEL.match(above.text)
    return full or above.text.endswith((",", "(", "/")) or (below.text[0].islower() and not ended)


def _full(above: Line, below: Line, width: int) -> bool:
    """Tell whether the next line's first word would not have fitted."""
    word = FIRST_WORD.match(below.text)
    return 0 < width < len(above.text) + 1 + (word.end() if word else 0)
