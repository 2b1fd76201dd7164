"""Sentences of clinical notes by rules, with the section that each stands in.

Why these rules and not a library's: docs/decisions/0001-sentence-splitter.md.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from spanlake.core.sections import heading
from spanlake.core.spans import Span
from spanlake.core.units import Sentence
from spanlake.core.wrapping import RULE, Line, blocks_of

SPLITTER_VERSION = "1"  # raise it whenever a sentence or section of any note could change

MARK = re.compile(r"""[.!?…]+[)\]}"'’”]*|,(?=\S)""")
SPACE = re.compile(r"\s*")
ITEM_NUMBER = re.compile(r"(?:\d{1,2}|[a-z])$")
ITEM = re.compile(r"\(?\d{1,2}\s?[.)]+\s")
CAPITALS = re.compile(r"[A-Z][A-Z &/()'\-]{2,60}:")
RUN_ON = re.compile(r"[A-Z][a-z]{0,20}[\s,]")
NEXT_WORD = re.compile(r"\W{0,3}([^\W_]{1,20})")
REACH = 24  # characters on either side of a full stop that may decide

# Never the last word of a sentence.
LEADING = frozenset("dr drs mr mrs ms mx prof st vs e.g i.e cf approx fig ca gen rev".split())
# Not the last word when a number follows.
NUMBERED = frozenset(
    """no nos vol temp resp wt ht gr ph jan feb mar apr jun jul aug sep sept oct nov dec""".split()
)
# May be the last word: then a word with a capital follows, or the number of an item. So may
# every word with a full stop inside ("p.o.", "b.i.d.").
SHORT = frozenset(
    """po bid tid qid qd qhs hs prn iv im sq subq pr pt pts tab tabs cap caps inj susp oz lb lbs mg
    mcg ml cc cm mm kg hr hrs min sec wk mo yr yrs q am pm etc inc ltd co jr sr ave dept bili alk
    phos dx hx tx rx fx sx abd ext neuro resp""".split()
)
# What often begins a sentence and is hardly ever a name: after an initial only these begin one.
STARTERS = frozenset(
    """a after all also although an and any as at because both but during each following for from
    given he her his however i if in is it its my no of on once our patient please she since some
    the then there they this these those to today under upon was we when while with""".split()
)


def split(note_text: str) -> list[Sentence]:
    """Return the note's sentences in order: half-open spans in code points of `note_text`.

    They do not overlap, begin and end with a character that is not white space, and hold every such
    character of the note exactly once; a blank note has none. Time is linear in the note's length.
    """
    sentences: list[Sentence] = []
    section = ""
    for block in blocks_of(note_text):
        for start, end in _pieces(note_text, block[0].start, block[-1].end):
            section = _section(note_text, start, end, block) or section
            sentences.append(Sentence(Span(start, end), section))
    return sentences


def section_at(sentences: Sequence[Sentence], offset: int) -> str:
    """Return the section of the last of a note's sentences that begins at `offset` or before it."""
    at = bisect_right(sentences, offset, key=lambda sentence: sentence.span.start)
    return sentences[max(at - 1, 0)].section if sentences else ""


def _section(note_text: str, start: int, end: int, block: list[Line]) -> str | None:
    """Return the section that a sentence begins, if any; within a line only capitals do."""
    if start == block[0].start:
        underlined = len(block) > 1 and RULE.match(block[1].text) is not None
        return heading(note_text[start : min(end, block[0].end)], alone=underlined)
    if note_text[start - 1] == "," or CAPITALS.match(note_text, start, end):
        return heading(note_text[start:end])
    return None


def _pieces(note_text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the offsets of a block's sentences."""
    for mark in MARK.finditer(note_text, start, end):
        after = _skip_space(note_text, mark.end(), end)
        if after < end and _ends(note_text, start, mark, after):
            yield start, mark.end()
            start = after
    yield start, end


def _skip_space(note_text: str, start: int, end: int) -> int:
    found = SPACE.match(note_text, start, end)
    return found.end() if found else start


def _ends(text: str, start: int, mark: re.Match[str], after: int) -> bool:
    """Tell whether the sentence from `start` ends with `mark`; the next word begins at `after`."""
    before = text[max(start, mark.start() - REACH) : mark.start()]
    following = text[after : after + REACH]
    if mark.group() == ",":
        return _lost_break(before, text, after)
    if following[0].islower() or not before.strip():
        return False
    if after == mark.end():  # "was noted.The patient", but not "www.Name.org"
        return before[-3:].isalpha() and before[-3:].islower() and bool(RUN_ON.match(following))
    if mark.group()[0] != ".":
        return not before[-1].isspace()  # "rule out ? PE" asks within a sentence
    if CAPITALS.match(text, after):
        return True
    return _full_stop(before, following, first=mark.start() - start < 5, closed=mark.group() != ".")


def _lost_break(before: str, text: str, after: int) -> bool:
    """Tell whether a comma without a space behind it stands where a line break was lost.

    The MTSamples notes as they are handed around write ``.,HEADING: , text`` for lines.
    """
    if CAPITALS.match(text, after):
        return True
    if before[-1:] in {".", "?", "!", ":", " "}:
        return bool(ITEM.match(text, after)) or (before[-1] != ":" and not text[after].islower())
    return False


def _full_stop(before: str, following: str, *, first: bool, closed: bool) -> bool:
    """Tell whether a full stop ends a sentence, from the characters around it.

    `first` tells that the sentence has just begun, `closed` that more dots or brackets follow.
    """
    words = before.split()
    word = words[-1].strip("([{\"'*").lower()
    if ITEM_NUMBER.match(word) and ((len(words) == 1 and first) or _opens(words)):
        return False
    if word in LEADING or (word in NUMBERED and following[0].isdigit()):
        return False
    if len(word) == 1 and word.isalpha():
        return _word(following).lower() in STARTERS or bool(ITEM.match(following))
    if "." in word or word in SHORT:
        titled = following[0].isupper() and not _word(following)[1:].isupper()
        return (not closed and titled) or bool(ITEM.match(following))
    return True


def _opens(words: list[str]) -> bool:
    """Tell whether a colon or comma stands before the last word, as before an item's number."""
    return len(words) > 1 and words[-2][-1] in ":,;"


def _word(following: str) -> str:
    found = NEXT_WORD.match(following)
    return found.group(1) if found else ""
