"""Blocks of a note: its lines, with those joined again that a fixed line width has cut.

A line is a unit of its own (a heading, an item, a row) unless its break was put in by a program
that ran out of columns. The words say so, at any width ("no evidence of / embolism"); or the layout
does: the next word would not have fitted into the columns that the breaks around keep to.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from spanlake.core.types import BLANK
from spanlake.text.sections import heading

LINE = re.compile(r"[^\n\r\v\f\x85\u2028\u2029]+")
MARKER = re.compile(
    r"""(?:
        \(?(?:\d{1,2}|[A-Za-z]|[ivx]{2,4})\s?[.)] | \d{1,2}/      # an item's number
        | [-–—*•·▪►●○◦‣∙➢→+>#@o] | [-*+>#=]{2,}                    # a bullet
        | \d{1,2}/\d{1,2}(?:/\d{2,4})?:                           # a date
        | (?:___\s|\[\*\*[^\]]{1,20}\]\s)?\d{1,2}:\d\d(?:[AP]M)?  # a time
        | RX(?=\s\*)
        )(?=\s|$)
        | \d{1,2}\s{2,}(?=[^\W\d_]) | \d{3,4}\s{2,}(?=[A-Z]) | \#(?=[^\W\d_])
        | \[[ xX]?\] | [☐☑☒✓✔]""",
    re.VERBOSE,
)
BARE_MARKER = re.compile(r"(?:\(?\d{1,2}\s?[.)]{1,2}|[-*•·▪►●○])$")
LABEL = re.compile(r"[^\W\d_][^:;.]{0,30}:(?:\s|$)")
SIG = re.compile(r"sig\s?:", re.IGNORECASE)  # directions stand with the drug in the line above
DOSE = re.compile(r"\d[\d.,/-]*\s?(?:mg|mcg|g|ml|units?|meq|cc|%)(?!\w)", re.IGNORECASE)
AMOUNT = re.compile(
    r"\d\s?(?:mg|mcg|g|ml|units?|meq|cc|puffs?)$|\(\d\)$|\b(?:tab(?:let)?s?|cap(?:sule)?s?|PO|IV|IM|SC|SUBQ)$",
    re.IGNORECASE,
)
USE = re.compile(
    r"""(?:PO|IV|IM|SC|SQ|SUBQ|SL|PR|BID|TID|QID|DAILY|HS|Q[A-Z]{1,3}|Q\d+H|PRN|Capsule|Tablet
    |once|twice|(?:two|three|four)\s+times|daily|nightly|weekly|every|by\s+mouth|as\s+needed
    |at\s+bedtime)\b""",
    re.VERBOSE,
)
RULE = re.compile(r"[-=_*~#]{3,}$")
CELLS = re.compile(r"\||[^\s.:?!]\s?(?:\t| {3})\s*\S|\.{4}")  # a row of a table
BRACKETED = re.compile(r"\([A-Z][^()]*\)$")
LETTER = re.compile(
    r"dear\b|(?:.{0,12}\b)?(?:sincerely|regards|respectfully|thank you|thanks|best|yours)\b"
    r".{0,12},$",
    re.IGNORECASE,
)
FIRST_WORD = re.compile(r"\S{1,30}")
SENTENCE_END = re.compile(r"[^\W\d_]{2}[.!](?:\s+[A-Z]|$)")
ENDED = (".", "!", "?", ":", "…")
ANSWER = re.compile(r"(?:[-–—:?=|>]|\.\.)$")  # before "no": a value, not the start of a phrase
NEIGHBOURS = 12  # lines of a stretch; a line's neighbourhood is its stretch and the ones beside it
RAGGED = 16  # a part of the width by which lines may miss it: some are wrapped by hand
WIDE = 56  # columns; below, a list's lines keep to a width by chance, and its words must deny it
LONG = 40  # a line of so many characters that goes on in lower case has been wrapped
TORN = 0.2  # of the breaks at the width in a narrow paragraph, so many are known by their words

# No unit ends in one of these, so the next line continues it: a number may follow.
OPEN = frozenset(
    """a an any are at been by either every for from has have her his in into is of on or over
    per that the their than this to until was were which who will with without""".split()
)
# Nor in one of these, unless an item or a label follows.
JOINING = frozenset(
    """and but nor as be had no not if so when while where because since after before about above
    against along among around below between during except including like near through throughout
    toward towards under upon via within versus vs. dr. mr. mrs. ms. prof. st. she he they we its
    our these those there some such both each can could may might must shall should would
    then denies denied deny w/ w/o s/p h/o r/o c/w d/t 2/2 & very""".split()
)
COUNTED = frozenset("day age aged stage grade type class phase last past approximately pod".split())
ANSWERS = frozenset("no not denies denied any none".split())
# Adjectives and the like that a noun in lower case follows, beside those known by their endings.
BEFORE_A_NOUN = frozenset(
    """acute left right upper lower middle mild moderate severe new old prior recent recurrent small
    large moderately mildly severely slightly significant deep diffuse other further known second
    intermittent persistent possible likely probable first third last next year years-old year-old
    congestive""".split()
)
ADJECTIVE = re.compile(r"[a-z-]{3,}(?:al|ic|ary|ous|ular|eal|oid|tory|tive)$")
NOUN = frozenset(
    """normal abnormal hospital clinic positive negative trial removal arrival withdrawal renewal
    referral refusal approval oral topical medical surgical general total final history capillary
    laboratory topic diabetic alcoholic animal interval goal meal""".split()
)
# What only goes on: no unit begins with one of these in lower case.
GOING_ON = frozenset(
    """and or nor but of with without for to in on at by from into is are was were be been has had
    have which that who whom whose as than due secondary after before during since while because
    although until where when if through within between under over about per versus vs the this
    these his her their its it he she they will would should could can may not noted""".split()
)
# Words of running text: beside them a line that goes on in lower case is no item of a list.
RUNNING = frozenset(
    """is are was were be been has had have will would could should may the this that these those
    there he she it his her they their we i patient who which denies denied reports reported but
    also because states stated""".split()
)
# A capital on one of these begins a sentence: it is no name.
STARTERS = frozenset(
    """a after all also although an and any are as at because both but by can continue denies did
    do does during each following for from given has have he her here his however i if in is it its
    my no of on once other our patient please pt she should since some take the then there they
    this these those to today under upon was we were what when while will with you your""".split()
)
STARTS = frozenset(word.capitalize() for word in STARTERS - {"i"})


@dataclass(frozen=True, slots=True)
class Line:
    """A line without the white space around it; `gap` tells that an empty line stands above."""

    start: int
    text: str
    gap: bool
    indent: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def columns(self) -> int:
        return self.indent + len(self.text)


@dataclass(frozen=True, slots=True)
class Break:
    """A line break: `joined` is what the words say of it (None: the layout decides).

    `torn` tells that the words show a break for want of columns; the line above fits, and the next
    word does not, at the widths from `least` to `most`.
    """

    joined: bool | None
    torn: bool
    least: int
    most: int


def lines_of(note_text: str) -> Iterator[Line]:
    """Yield the lines that are not blank, at any of the line breaks that Unicode knows."""
    last = 0
    for match in LINE.finditer(note_text):
        text = match.group().strip(BLANK)
        if text:
            indent = len(match.group()) - len(match.group().lstrip(BLANK))
            start = match.start() + indent
            between = note_text[last:start]
            yield Line(start, text, max(between.count("\n"), between.count("\r")) > 1, indent)
            last = start + len(text)


def unwrap_lines(note_text: str) -> Iterator[list[Line]]:
    """Yield lists of lines, in order, that belong together: mostly one line each."""
    lines = list(lines_of(note_text))
    breaks = [_break(above, below) for above, below in pairwise(lines)]
    block = lines[:1]
    for below, joined in zip(lines[1:], _joined(lines, breaks), strict=True):
        if not joined:
            yield block
            block = []
        block.append(below)
    if block:
        yield block


def _joined(lines: Sequence[Line], breaks: Sequence[Break]) -> Iterator[bool]:
    """Yield for each break whether it is to be ignored."""
    widths = _widths(lines, breaks)
    start = 0
    while start < len(breaks):
        end = next((i for i in range(start, len(breaks)) if breaks[i].joined is False), len(breaks))
        yield from _in_paragraph(breaks[start:end], widths[start:end])
        yield from [False] * (end < len(breaks))
        start = end + 1


def _in_paragraph(breaks: Sequence[Break], widths: Sequence[int]) -> Iterator[bool]:
    full = [
        b.least - width // 6 <= width <= b.most for b, width in zip(breaks, widths, strict=True)
    ]
    torn = sum(b.torn for b in breaks)
    running = 0 < torn >= TORN * sum(full)
    for b, width, is_full in zip(breaks, widths, full, strict=True):
        yield is_full and (running or width >= WIDE) if b.joined is None else b.joined


def _widths(lines: Sequence[Line], breaks: Sequence[Break]) -> list[int]:
    """Return for each break the width that its neighbourhood is wrapped at, 0 where it is not."""
    widths: list[int] = []
    for i in range(0, len(breaks), NEIGHBOURS):
        near = slice(max(0, i - NEIGHBOURS), i + 2 * NEIGHBOURS)
        width = _width(breaks[near], sorted(line.columns for line in lines[near]))
        widths += [width] * min(NEIGHBOURS, len(breaks) - i)
    return widths


def _width(breaks: Sequence[Break], columns: Sequence[int]) -> int:
    """Return the width that most of the torn breaks keep to and that few lines pass, else 0."""
    least = sorted(b.least for b in breaks if b.torn)
    most = sorted(b.most for b in breaks if b.torn)
    best, width = 0, 0
    for candidate in least:
        slack = candidate // RAGGED
        early = bisect_left(most, candidate - slack)  # broken though the next word had room
        hits = bisect_right(least, candidate + slack) - early
        over = len(columns) - bisect_right(columns, candidate + slack)
        if hits > 1 and hits - early - over > best:
            best, width = hits - early - over, candidate
    return width


def _break(above: Line, below: Line) -> Break:
    joined, torn = _words_say(above, below)
    most = above.columns + len(_first_word(below.text))
    return Break(joined, torn, above.columns, most)


def _words_say(above: Line, below: Line) -> tuple[bool | None, bool]:
    """Return whether two lines belong together (None: unknown), and whether a wrap tore them."""
    if RULE.match(below.text):
        return heading(above.text, alone=True) is not None and not below.gap, False
    if below.gap or RULE.match(above.text):
        return False, False
    if above.text.rfind("[**") > above.text.rfind("**]"):
        return True, False
    if BARE_MARKER.match(above.text):
        return not (MARKER.match(below.text) or heading(below.text)), False
    if heading(below.text) or _stands_alone(above.text) or BRACKETED.match(below.text):
        return False, False
    last = _last_word(above.text)
    if MARKER.match(below.text):
        return last in OPEN and last != "or" and below.text[0].isdigit(), False
    if CELLS.search(above.text) or CELLS.search(below.text):
        return False, False
    if SIG.match(below.text):
        return True, False
    return _prose(above, below, last)


def _prose(above: Line, below: Line, last: str) -> tuple[bool | None, bool]:
    """Return what `_words_say` returns, for lines that are neither items nor rows nor headings."""
    ended = above.text.endswith(ENDED) and "." not in last[:-1]
    labelled = LABEL.match(above.text) is not None
    if LABEL.match(below.text) and (labelled or not below.text[0].islower()):
        return False if ended or labelled or above.columns < WIDE else None, False
    if above.text.endswith((",", "(", "/")) and not LETTER.match(above.text):
        return True, below.text[0].islower()
    if _dose(above.text, below.text) or (
        last in COUNTED and " " in above.text and below.text[0].isdigit()
    ):
        return True, False
    if above.text.isupper() and below.text.upper() != below.text:
        return None if ended or len(above.text) < 5 else False, False
    if last in ANSWERS and last != "denies" and _first_word(below.text).istitle():
        return None if ended else False, False  # "Smoker no" above "Drinks wine"
    torn = _torn(above.text, below.text, last) and (not ended or last in JOINING)
    if torn or (not ended and below.text[0].islower() and len(above.text) >= LONG):
        return True, torn
    return (False if not ended and _first_word(below.text) in STARTS else None), False


def _dose(above: str, below: str) -> bool:
    """Tell whether a drug's amount or use begins a line: neither stands without what is above."""
    if USE.match(below):
        return AMOUNT.search(above) is not None
    return above[-1].isalpha() and DOSE.match(below) is not None and not AMOUNT.search(above)


def _torn(above: str, below: str, last: str) -> bool:
    """Tell whether the words at a line break show it to be in the midst of running text."""
    if last in OPEN or last in JOINING:
        return True
    word = _first_word(below)
    if last in BEFORE_A_NOUN and word.isalpha() and word.isupper():
        return True  # "prior MI"
    if not (below[0].islower() or (above.isupper() and below.isupper())):
        return False
    if last in BEFORE_A_NOUN or (ADJECTIVE.match(last) and last not in NOUN):
        return True
    if word.lower() in GOING_ON:
        return True
    return (
        not above.isupper()
        and word != "no"
        and (_running(above) or SENTENCE_END.search(below) is not None)
    )


def _running(text: str) -> bool:
    """Tell whether a line is running text, by its words or the end of a sentence within it."""
    return not RUNNING.isdisjoint(text.lower().split()) or SENTENCE_END.search(text) is not None


def _stands_alone(text: str) -> bool:
    """Tell whether a line is nothing but a heading, or a remark in brackets."""
    if BRACKETED.match(text):
        return True
    return (text.endswith(":") or ":" not in text) and heading(text) is not None


def _first_word(text: str) -> str:
    match = FIRST_WORD.match(text)
    return match.group().rstrip(",") if match else ""


def _last_word(text: str) -> str:
    """Return the last word in lower case, "" where it is another word than it seems."""
    *before, word = text[-40:].rsplit(None, 2)
    if word.isupper() and not text.isupper():
        return ""  # "to the OR", "hepatitis A"
    if before and word == "in" and before[-1][-1].isdigit():
        return ""  # inches
    if before and word.lower() in ANSWERS and ANSWER.search(before[-1]):
        return ""
    return word.lower()
