"""Sentences of clinical notes by rules, with the section that each stands in.

Why these rules and not a library's: docs/decisions/0001-sentence-splitter.md.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from spanlake.core.types import Sentence, Span
from spanlake.text.line_unwrapping import COUNTED, OPEN, RULE, STARTERS, Line, unwrap_lines
from spanlake.text.sections import heading

SPLITTER_VERSION = "2"  # raise it whenever a sentence or section of any note could change

MARK = re.compile(r"""[.!?…]+[)\]}"'’”]*|,(?=\S)""")
SPACE = re.compile(r"[\s\ufeff]*")
ITEM_NUMBER = re.compile(r"(?:\d{1,2}|[a-z])$")
NUMBER = re.compile(r"(?<!\S)\d{1,2}$")
ITEM = re.compile(r"\(?\d{1,2}\s?[.)]+\s")
CAPITALS = re.compile(r"[A-Z][A-Z &/()'\-]{2,60}:")
RUN_ON = re.compile(r"[A-Z][a-z]{0,20}[\s,]")
NEXT_WORD = re.compile(r"\W{0,3}([^\W_]{1,20})")
ANSWER = re.compile(r"(?:yes|no|none|y|n)(?=\s*(?:$|[.,;:|()–—-])|\s*\n|\s\s)", re.IGNORECASE)
REACH = 24  # characters on either side of a full stop that may decide

# Never the last word of a sentence.
LEADING = frozenset(
    "dr drs mr mrs ms mx prof st vs e.g i.e cf approx fig ca gen rev vit est sust".split()
)
# Not the last word when a number follows.
NUMBERED = frozenset(
    """no nos vol temp resp wt ht gr ph jan feb mar apr jun jul aug sep sept oct nov dec plt
    plts hb hgb hct wbc ft""".split()
)
# May be the last word: then a word with a capital follows, or the number of an item. So may
# every word with a full stop inside ("p.o.", "b.i.d.").
SHORT = frozenset(
    """po bid tid qid qd qhs hs prn iv im sq subq pr pt pts tab tabs cap caps inj susp oz lb lbs mg
    mcg ml cc cm mm kg hr hrs min sec wk mo yr yrs q am pm etc inc ltd co jr sr ave dept bili alk
    phos dx hx tx rx fx sx abd ext neuro resp exac""".split()
)
# Stand before a drug's name ("Tab. Aspirin"), unless a number stands before them ("1 tab. daily").
FORMS = frozenset("tab cap inj syr syp susp oint".split())


def split(note_text: str) -> list[Sentence]:
    """Return the note's sentences in order: half-open spans in code points of `note_text`.

    They do not overlap, begin and end with a character that is not white space, and hold every such
    character of the note exactly once; a blank note has none. Time is linear in the note's length.
    """
    sentences: list[Sentence] = []
    section = ""
    for block in unwrap_lines(note_text):
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
    wanted = -1  # the number of the next item, once items have begun
    for mark in MARK.finditer(note_text, start, end):
        after = _skip_space(note_text, mark.end(), end)
        number = NUMBER.search(note_text, max(start, mark.start() - 2), mark.start())
        if number and after > mark.end():
            words = note_text[max(start, number.start() - REACH) : number.start()].split()
            if words and int(number.group()) == wanted and _may_end(words[-1].lower()):
                yield start, _end_before(note_text, number.start())
                start = number.start()
            if start == number.start() or _opens([*words, ""]):
                wanted = int(number.group()) + 1
        if after < end and _ends(note_text, start, mark, after):
            yield start, mark.end()
            start = after
    yield start, end


def _may_end(word: str) -> bool:
    """Tell whether an item may end in a word; a number after "of" or "grade" is the word's own."""
    return word not in OPEN and word not in COUNTED


def _end_before(text: str, end: int) -> int:
    while text[end - 1].isspace() or text[end - 1] == "\ufeff":
        end -= 1
    return end


def _skip_space(note_text: str, start: int, end: int) -> int:
    match = SPACE.match(note_text, start, end)
    return match.end() if match else start


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
    if mark.group().startswith("..") and before[-1].isspace():
        return False  # dots that lead to a value
    if mark.group()[0] == "?" and ANSWER.match(text, after):
        return False
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
    if word in FORMS and not (len(words) > 1 and words[-2][-1].isdigit()):
        return _word(following).lower() in STARTERS
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
    match = NEXT_WORD.match(following)
    return match.group(1) if match else ""
