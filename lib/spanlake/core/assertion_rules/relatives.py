"""Other persons: family history, and "her mother had ..."."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from spanlake.core.assertion_rules.note_form import (
    CLAUSE,
    CLAUSE_END,
    FILLER,
    Cue,
    NoteForm,
    rule,
)
from spanlake.core.types import Entity

SIDE = (
    r"(?:(?:both|foster|adoptive|maternal|paternal|mat\.|pat\.|older|younger|half|birth|biological|"
    r"great|step|first[-\x20]degree|two|three|one|twin|late|identical) ){0,3}"
)
KIN = (
    r"(?:grand(?:mother|father|parents?|son|daughter|ma|pa)|mother|father|mom|mum|dad|parents?|"
    r"sisters?|brothers?|siblings?|half[-\x20](?:sister|brother|sibling)s?|sons?|daughters?|children|"
    r"toddler|aunts?|uncles?|cousins?|nephews?|nieces?|wife|husband|spouse|partner|relatives?|"
    r"in-laws?|kin|family members?|family|MGM|MGF|PGM|PGF|FOB|mo|fa|bro|sis|dtr|twin|boyfriend|"
    r"girlfriend|donor|roommate|classmate|coworkers?)"
)
RELATIVE = rule(rf"(?<![\w'])(?P<cue>{SIDE}{KIN}(?: and {SIDE}{KIN})?)(?!\w)")
AFFLICTED = rule(
    r"(?:'s \w+)?~[,:]?~(?:(?:also|who|herself|himself|recently|\(\d+\)|both|is|was|been|said|to|"
    r"may|have|has|had|a|pregnant|and|in the family) ){0,5}(?:has|had|have|with|w/|died (?:of|from|"
    r"with)|diagnosed with|suffers? from|affected (?:by|with)|having|developed|treated for|"
    r"recovery from)(?!\w)"
)
AFFLICTED_LEAD = rule(rf"~(?:(?:been diagnosed with|no|a history of|also|{FILLER}) ){{0,4}}")
KIN_LEAD = rule(rf"~(?:[-–—:(]~)?(?:(?:died|also|{FILLER}) ){{0,3}}")
# The relative tells of the patient, or is told something.
HISTORIAN = rule(
    r"\b(?:says|states?|stated|reports?|reported|notes|feels|thinks|told) (?:us )?(?:that )?"
    r"(?:his|her|their) \Z"
)
# The relative came along, or is told something: "brought by her son with", "discussed with son:".
COMPANY = rule(
    r"\b(?:(?:brought|bib|accompanied|escorted|presents?|presented|seen|here|came|comes|arrived|"
    r"lives?|living|resides|cared for)(?: [\w-]+){0,3} (?:by|with)|"
    r"(?:discussed|spoke|talked|spoken) (?:with|to)|updated|informed) "
    r"(?:(?:his|her|their|the|a) )?\Z"
)
WHO = rule(r"\bwho\b")
HIMSELF = rule(
    r"(?<!\w)(?:patient|pt|herself|himself|she|he|child|boy|girl|baby|infant|i|states|says|reports|"
    rf"denies|reported|denied|noticed|noted|thinks|found|saw)(?!\w)|{CLAUSE}"
)
TALKED_TO = rule(
    r"\b(?:updated?|asks?|asked|bedside|aware|notified|informed|discussed|meeting|visit\w*|worried|"
    r"concern\w*|agree\w*|wish\w*|prefer\w*|supportive)\b"
)
FAMILY = rule(
    r"(?<!\w)(?P<cue>(?:family|fam\.?|fhx?|familial)(?: (?:medical|psych\w*|ocular|oc|social))?"
    r"(?:~(?:history|hx))?)(?P<of> (?:is |was )?(?:of|positive for|significant for|notable for|"
    r"negative for)|~[:–—-])(?!\w)"
)
BULLETED = rule(r"~[-*•·] [^:\n]*(?:\n|$)")
TITLE = rule(r"\W{0,6}(?P<cue>family(?: medical)? (?:history|hx)|fam\.? (?:history|hx)|fhx?)~:?~")
SECTION = re.compile(r"\bfamily\b(?! (?:medical )?(?:history|hx) of)|^f/?hx?\b|^fam\b")
HEADING = rule(
    r"\W{0,6}(?:\d{1,2}[.)])?~(?P<cue>(?:(?:past|social|medical|and|&|/)~){0,4}(?:family|fam\.?|"
    r"f/?hx?\b)(?: (?:medical|health|social|and))*(?:~(?:history|hx))?)"
)
NOTHING = rule(
    r"~[:–—-]?~(?:negative|non-?contributory|not contributory|unremarkable|noncontrib\w*|"
    r"not (?:known|obtained|relevant|pertinent)|unknown|n/a|reviewed(?: and \S+)?)~\.?\s*$"
)
OTHER_LABEL = rule(
    rf"(?!(?i:{SIDE}{KIN})\b)[A-Z][A-Za-z'/\x20]{{2,30}}(?::|(?<=[A-Z]{{4}})(?=~\n))", case=True
)
BLANK_LINE = rule(r"\n~\n")
LINE_END = re.compile(r"\n|[.:](?=,\S)")
PATIENT_FIRST = rule(r"\s*+(?:the )?(?:patient|pt|he|she|i)\b")


def relatives(note: NoteForm) -> Iterator[Cue]:
    """Yield relatives with the findings that they have, in running text and family histories."""
    yield from _sections(note)
    yield from _family_histories(note)
    for match in RELATIVE.finditer(note.text):
        if HISTORIAN.search(note.before(match.start(), 40)):
            continue
        afflicted = AFFLICTED.match(note.text, match.end())
        company = COMPANY.search(note.before(match.start(), 60))
        if company and not (afflicted and WHO.search(afflicted.group())):
            continue
        start = afflicted.end() if afflicted else match.end()
        heads = note.within(start, min(note.until(HIMSELF, start), note.until(RELATIVE, start)))
        if not heads:
            continue
        lead = note.text[start : note.entities[heads[0]].start]
        if (AFFLICTED_LEAD if afflicted else KIN_LEAD).fullmatch(lead):
            yield Cue("subject", *match.span("cue"), _listed(note, heads))


def _listed(note: NoteForm, heads: Sequence[int]) -> list[int]:
    """Return the first of the heads and those that are listed after it."""
    listed = set(note.coordinated_after(heads[0], lists=True)) if heads else set()
    return [i for i in heads if i in listed]


def _family_histories(note: NoteForm) -> Iterator[Cue]:
    """Yield the subjects of "Family: ..." to its line's end, of "family history of" A and B, and
    of a list below a title.
    """
    for match in FAMILY.finditer(note.text):
        whole_line = not match["of"].strip()[-1:].isalpha()
        end = note.until(LINE_END if whole_line else CLAUSE_END, match.end())
        end = min(end, note.until(FAMILY, match.end()))
        if whole_line and note.until(TALKED_TO, match.end()) < end:
            continue
        if not whole_line:
            heads = _listed(note, note.within(match.end(), end))
            end = note.entities[heads[-1]].end if heads else end
        yield from _clauses(note, match.end(), end, match.span("cue"))
    done = 0
    for number, (start, end) in enumerate(note.lines):
        title = TITLE.fullmatch(note.text, start, end) if start >= done else None
        if title and not BULLETED.match(note.text, start, end):
            for first, last in note.list_below(number):
                done = last
                yield from _clauses(note, first, last, title.span("cue"))


def _sections(note: NoteForm) -> Iterator[Cue]:
    """Yield, in sections of family history, the relative of each finding, else the heading.

    A blank line below the section's text ends it, as a title in capitals does; a label of something
    else ends it for its line.
    """
    heading: tuple[int, int] | None = None
    section, inside, last, other_line = "", False, 0, -1
    for sentence in note.sentences:
        start, end = sentence.span.start, sentence.span.end
        if sentence.section != section:
            section = sentence.section
            inside = SECTION.search(section) is not None and not BULLETED.match(note.text, start)
            last = 0
            match = HEADING.match(note.text, start, end) if inside else None
            heading = match.span("cue") if match else None
        elif inside and last and BLANK_LINE.search(note.text, last, start):
            inside = False
        titled = heading is not None and heading[0] >= start
        if inside and not titled and OTHER_LABEL.match(note.text, start):
            other_line = note.line_at(start)[1]
            inside = note.text[start:other_line].rstrip().endswith(":") is False and not (
                note.text[start:other_line].isupper()
            )
        if not inside or start < other_line:
            continue
        if titled and heading and NOTHING.match(note.text, heading[1], end):
            inside = False
            continue
        if not (titled and heading and not note.text[heading[1] : end].strip(" :-=_*#")):
            last = end
        yield from _clauses(note, start, end, heading)


def _clauses(
    note: NoteForm, start: int, end: int, heading: tuple[int, int] | None
) -> Iterator[Cue]:
    """Yield the subject of every finding of a family history: the relative of its clause."""
    edges = [match.end() for match in CLAUSE_END.finditer(note.text, start, end)]
    for edge in [*edges, end]:
        if PATIENT_FIRST.match(note.text, start):
            return
        named = RELATIVE.finditer(note.text, start, edge)
        kin = [relative for relative in named if relative["cue"].lower() != "family"]
        for i in note.within(start, edge):
            cue = _kin_of(note, note.entities[i], kin) or heading
            if cue:
                yield Cue("subject", *cue, [i])
        start = edge


def _kin_of(note: NoteForm, entity: Entity, kin: Sequence[re.Match[str]]) -> tuple[int, int] | None:
    """Return the relative before a finding, or behind it: "Diabetes - mother"."""
    at = bisect_right(kin, entity.start, key=lambda relative: relative.end())
    before = kin[max(0, at - 1) : at]
    after = [relative for relative in kin[at : at + 2] if relative.start() >= entity.end][:1]
    closed = [
        relative for relative in before if note.text.find(")", relative.end(), entity.start) >= 0
    ]
    if after and (closed or not before):
        return after[0].span("cue")
    return before[0].span("cue") if before else None
