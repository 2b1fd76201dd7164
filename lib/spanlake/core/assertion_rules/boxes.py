"""Answers and boxes: "Cough: no", "Weight loss .... NO", "[ ] Chills", "Rash: [ ] Yes [x] No"."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from spanlake.core.assertion_rules.note_form import GAP, SPACE, Cue, NoteForm, rule

ANSWER = rule(
    rf"(?<!{SPACE})(?:~(?:(?P<dots>(?<![._·])[._·]{{3,}}+:?)|(?P<asked>\?:?)|(?P<colon>:)|"
    rf"(?P<bar>\|)|(?P<dash>(?<=\s)[-–—]+(?=\s)))|(?={GAP}))~(?:[-–]\s)?"
    r"(?P<word>(?:[Nn]o|NO|[Nn]one(?: known)?|NONE|[Nn]il|NIL|[Nn]eg(?:ative)?|NEG(?:ATIVE)?|"
    r"[Dd]enie[sd]|DENIE[SD]|[Aa]bsent|ABSENT|[Nn]ever|[Nn]obody|NKD?A|N|-|−|0)"
    r"(?:~/~(?:no|NO|No|N))?|[Yy]es|YES|Y|\+|[Pp]ositive|POSITIVE|[Pp]resent|PRESENT)"
    rf"(?={GAP}|~(?:\.(?!\d)|[,;)(|\n]|[-–—]\s|$)| [A-Z][a-z]+(?: [a-z]+){{0,3}}:)",
    case=True,
)
CHOICE = rule(rf"(?<!{SPACE})~[(\[]?(?:yes|y)~/~(?:no|n)[)\]]?~\Z")
AFFIRMED = rule(r"yes|y|\+|positive|present")
BULLET_ONLY = rule(r"[\s•*·|#>-]*+(?:\d{1,2}[.)])?\s*")
QUALIFIER = rule(r"(?: [\w'/-]+){0,5}~(?:\([^()\n]{0,40}\))?~")
PLAIN_NO = ("no", "none", "nil", "never", "n", "denies", "denied", "nobody", "none known")

UNDERSCORES = r"(?:(?<!\w)|(?<=\b[Yy]es)|(?<=\bYES)|(?<=\b[Nn]o)|(?<=\bNO))"
EMPTY = rf"\[~\]|\(\x20+\)|[☐□▢◻]|{UNDERSCORES}_{{2,}}(?![xX✓_])(?=\w|\s)|(?<![^\s])_(?=\s\s)"
TICKED = rf"\[~[xX✓✔✗✘*]~\]|\(~[xX✓✔]~\)|[☑☒■✓✔]|{UNDERSCORES}_+[xX✓]_*|(?<![^\s])[xX](?=\s\s)"
BOX = rule(
    rf"(?P<empty>{EMPTY})|(?P<ticked>{TICKED})|(?P<minus>\[-\]|\(-\)|\[−\])|(?P<plus>\[\+\]|\(\+\))",
    case=True,
)
WORD_BEHIND = rule(r"~(?P<word>yes|no|y|n|present|absent|denies)\b")
WORD_BEFORE = rule(r"(?<![A-Za-z])(?P<word>yes|no|y|n)~\Z")
WORD_NO = ("no", "n", "absent", "denies")
RINGED = rule(
    r"(?:(?:y|yes)(?:~[/|]~| )(?P<no>\[~(?:n|no)~\]|\(~(?:n|no)~\)|(?:n|no)\*))"
    r"|(?:(?:\[~(?:y|yes)~\]|\(~(?:y|yes)~\)|(?:y|yes)\*)(?:~[/|]~| )(?:n|no)\b)"
)
LINE_LEAD = rule(r"~(?:[-*•·]|\d{1,2}[.)])?~(?:[\w/\x20-]{0,40}:|[A-Z]{4,20})?~")
SHORT_LEAD = rule(r"~(?:(?:any|a|an|the|new|recent|severe|history of|hx of) ){0,2}")
LETTERED = rule(rf"~(?P<cue>[NY]){GAP}~(?=[A-Za-z])", case=True)

HEADER = rule(r"(?P<yes>\byes\b)(?:~\|~|~)(?P<no>\bno\b)~\|?~$")
CROSS = rule(r"(?:(?<=[\x20\t])|(?<=\|))[xX✓✔](?=~\|?~$)", case=True)

Word = tuple[int, int, bool]  # place of an answer word, and whether it is "no"


def answers(note: NoteForm) -> Iterator[Cue]:
    """Yield answers of no to questions of one line, which may hold several."""
    for start, end in note.lines:
        before = start
        for match in ANSWER.finditer(note.text, start, end):
            first = note.segment(before, match.start())
            questions, before = note.within(first, match.start()), match.end()
            if not questions or AFFIRMED.fullmatch(match["word"]):
                continue
            if match["word"] in ("-", "−", "0") and not (match["colon"] or match["dots"]):
                continue
            last = note.entities[questions[-1]]
            rest = CHOICE.sub("", note.text[last.end : match.start()])
            if not (match["dots"] or match["asked"] or QUALIFIER.fullmatch(rest)):
                continue
            heads = questions
            if not (match["asked"] or match["bar"]):
                alone = BULLET_ONLY.fullmatch(note.text, first, last.start) is not None
                listed = alone or match["dots"] is not None
                heads = note.coordinated_before(questions[-1], lists=listed)
            # "Urine ketones: neg" is a value
            plain = ("drug", "treatment") if match["word"].lower() in PLAIN_NO else ()
            yield Cue("negation", *match.span("word"), note.of_label(heads, "problem", *plain))


def boxes(note: NoteForm) -> Iterator[Cue]:
    """Yield empty boxes before findings, and ticked boxes of "no" beside them."""
    for start, end in note.lines:
        yield from _ringed(note, start, end)
        lettered = LETTERED.match(note.text, start, end)
        if lettered and lettered["cue"] == "N":
            yield Cue("negation", *lettered.span("cue"), _right_after(note, lettered.end(), end))
        marks = list(BOX.finditer(note.text, start, end))
        if not marks:
            continue
        words = _answer_words(note.text, marks, end)
        if any(words):
            yield from _worded_boxes(note, (start, end), marks, words)
            continue
        in_front = LINE_LEAD.fullmatch(note.text, start, marks[0].start()) is not None
        in_front = in_front and not note.of_label(note.within(start, marks[0].start()), "problem")
        edges = [mark.start() for mark in marks[1:]] + [end]
        before = [start, *(mark.end() for mark in marks[:-1])]
        for mark, edge, last in zip(marks, edges, before, strict=True):
            if last > start and not note.text[last : mark.start()].strip():
                continue  # one of a pair, in columns of yes and no
            if mark["empty"] or mark["minus"]:
                if in_front or not _ends_finding(note, mark.start()):
                    heads = _right_after(note, mark.end(), edge)
                    if len(marks) == 1:  # perhaps something to do: "[ ] repeat CBC"
                        heads = note.of_label(heads, "problem")
                    yield Cue("negation", *mark.span(), heads)


def columns(note: NoteForm) -> Iterator[Cue]:
    """Yield crosses that stand below a NO, in the lines below a header of YES and NO."""
    header: re.Match[str] | None = None
    for start, end in note.lines:
        line = note.text[start:end]
        if not line.strip():
            header = None
        header = HEADER.search(line) or header
        cross = CROSS.search(line) if header else None
        if header is None or cross is None:
            continue
        if "|" in line:
            second = line[: cross.start()].count("|") == header.string[: header.start("no")].count(
                "|"
            )
        else:
            distances = [abs(cross.start() - sum(header.span(name)) / 2) for name in ("yes", "no")]
            second = distances[1] < distances[0]
        if second:
            at = start + cross.start()
            yield Cue("negation", at, at + 1, note.within(start, at))


def _answer_words(text: str, marks: Sequence[re.Match[str]], end: int) -> list[Word | None]:
    """Return the answer word of each box of a line: the one before it, else the one behind it.

    All boxes of a line have it on the same side, which is that of the first.
    """
    behind = [WORD_BEHIND.match(text, mark.end(), end) for mark in marks]
    before = [WORD_BEFORE.search(text, max(0, mark.start() - 8), mark.start()) for mark in marks]
    return [_word(match) for match in (before if before[0] else behind)]


def _word(match: re.Match[str] | None) -> Word | None:
    return match and (*match.span("word"), match["word"].lower() in WORD_NO)


def _worded_boxes(
    note: NoteForm,
    line: tuple[int, int],
    marks: Sequence[re.Match[str]],
    words: Sequence[Word | None],
) -> Iterator[Cue]:
    """Yield ticked boxes of "no", with the finding before them, or behind all boxes of the line."""
    start, end = line
    pairs = [(mark, word) for mark, word in zip(marks, words, strict=True) if word]
    last = max(max(mark.end(), word[1]) for mark, word in pairs)
    in_front = not note.within(start, min(pairs[0][0].start(), pairs[0][1][0]))
    before = start
    heads: list[int] = []
    for mark, word in pairs:
        heads = note.within(before, min(mark.start(), word[0])) or heads
        before = max(mark.end(), word[1])
        named = _right_after(note, last, end) if in_front else heads
        if mark["ticked"] and word[2] and named:
            shared = set(named if in_front else note.coordinated_before(named[-1], lists=True))
            yield Cue("negation", word[0], word[1], [i for i in named if i in shared])


def _ringed(note: NoteForm, start: int, end: int) -> Iterator[Cue]:
    """Yield the chosen no of "Y / [N]"."""
    before = start
    for match in RINGED.finditer(note.text, start, end):
        heads = note.within(note.segment(before, match.start()), match.start())
        heads = heads or note.within(before, match.start())[-1:]
        before = match.end()
        if match["no"] and heads:
            yield Cue("negation", *match.span("no"), heads)


def _ends_finding(note: NoteForm, place: int) -> bool:
    """Tell whether a finding ends right before a place, so that a sign there belongs to it."""
    at = bisect_left(note.starts, place) - 1
    return at >= 0 and not note.text[note.entities[note.mains[at]].end : place].strip(": \t\xa0")


def _right_after(note: NoteForm, start: int, end: int) -> list[int]:
    """Return the entity that begins right behind a box, and what is coordinated with it."""
    heads = note.within(start, end)
    if not heads or not SHORT_LEAD.fullmatch(note.text[start : note.entities[heads[0]].start]):
        return []
    here = set(heads)
    return [i for i in note.coordinated_after(heads[0], lists=True) if i in here]
