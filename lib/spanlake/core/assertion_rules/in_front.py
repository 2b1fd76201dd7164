"""Cues before findings: "denies A, B or C", "possible A", "Patient denies:" above a list."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise

from spanlake.core.assertion_rules.note_form import (
    ARTICLE,
    CLAUSE,
    FILLER,
    GAP,
    LINE_REST,
    Cue,
    NoteForm,
    bare,
    rule,
)

# A word with these before the finding says that something else than the finding is denied.
OTHER_DENIED = rule(
    rf"~{ARTICLE}?~(?:further|significant|more|real)?~(?:relief|change|changes|improvement|"
    r"increase|decrease|worsening|progression|response|resolution|longer|only|doubt|reason|"
    r"difference|need|interval)\b"
)
FILLERS = rule(rf"(?!{GAP})~(?:{FILLER} ){{0,4}}")
# Directly before their finding, or a list that ends with "or".
NO = rule(
    r"(?<![\w-])(?P<cue>no (?:evidence|signs?|indication|suggestion|symptoms?|history|hx|"
    r"complaints?|reports?|mention) of|no evidence (?:for|to suggest)|"
    r"no|without|w/o|nothing to suggest|free of|n0|nor|neither|"
    r"off|not on|neg(?:ative)? for|absence of|ruled out(?: for)?|neg(?=\.? )|"
    r"(?:does|did|do|could)(?: not|n't) (?:have|show|find|reveal|demonstrate|identify|require|need|"
    r"meet criteria for)|fail(?:s|ed) to (?:show|find|reveal|demonstrate|identify)|"
    r"never (?:experienced|had)|not)(?!\w)(?:~:)?"
)
# Before all findings up to the end of their clause.
LISTED = rule(
    r"(?<![\w-])(?P<cue>denies|deny|denied|denying|(?:does|did|do)(?: not|n't) (?:report|endorse|"
    r"complain of)|neg(?:ative)? for|(?:has|have) not had|(?:never|not) had"
    r"|(?:(?:pertinent|significant|relevant) )?(?:negatives?|neg)(?: on \w+)?~:"
    r"|absent(?: today| now)?~:|none of(?: (?:the following|these))?~:)(?!\w)"
    r"(?: that (?:he|she|they|it|the \w+) (?:has|have|had))?"
)
LIST_STOP = rule(
    rf"{CLAUSE}|(?<!\w)(?:but|however|except|although|though|yet|reports?|reported|endorses?|"
    r"complains?|admits?|positives?(?: for)?|aside|apart|which|because|since|despite|until|when|"
    r"presents?|states|notes|after|related to|secondary to|"
    r"(?:taking|use of|using) [^\n.;,]{1,40} for|she|he|they|other than|"
    r"does|is|was|due to|prior to|in relation|"
    r"includes?|has|have)(?!\w)"
)
BUT = rule(r"(?<!\w)(?:but|however|except|although|though|reports?|endorses?|admits?)(?!\w)")
COMPARED = rule(r" (?:this|that|so|quite|as|like|of this)(?!\w)")  # "never had pain like this"
ASKED, ANSWERED = rule(r":~\Z"), rule(r"~:~(?:yes|no|[yn])\b")
AVOID = rule(r"(?<![\w-])(?P<cue>avoid|avoided)(?!\w)")
THERAPY_STOPPED = rule(r"(?:^|[\n,;:().\d])\s*\Z")
PERHAPS = rule(
    r"(?<![\w-])(?P<cue>possibl[ye]|probabl[ye]|prob|likely|unlikely(?: to be)?|"
    r"suspect(?:ed|s)?|presumed|"
    r"presumably|presumptive|provisional~:|questionable|equivocal|query|r/o|rule out|ruling out|"
    r"(?:to )?exclude|diff\.? dx~:|not excluded~:|doubt|"
    r"concern(?:ing|ed)? for|worrisome for|"
    r"(?:high |low )?suspici(?:ous|on) (?:for|of)|suggest(?:s|ing|ive)?(?: of)?|suggestion of|"
    r"(?:may|might|could) (?:represent|reflect|be|have)|(?:some )?question of|possibility of|"
    r"consider(?:ed)?|wonders? (?:about|if|whether)|indefinite for|evaluate for|"
    r"cannot (?:be )?(?:\w+ )?(?:exclude|rule out)|(?:differential(?: diagnos[ei]s)?|ddx)"
    r"(?: includes?|(?: for [^:\n.;]{1,40})?~:))(?!\w)(?:~:)?"
)
LISTS_DOUBT = rule(r"rul|diff|ddx|considered")
DENIED_DOUBT = rule(
    r"(?<!\w)(?:no|not|nothing to|lesion to|no (?:evidence|findings?|signs?|features)(?: to)?) \Z"
)
QUESTION = rule(r"(?:(?<=[\s(:,;/-])|(?<![^\n]))(?P<cue>\?{1,3})~(?=\w)")
VERSUS = rule(rf"~,?~(?P<cue>vs\.?|versus)~(?:{ARTICLE} )?")
LEAD_IN = rule(
    r"(?:(?P<negation>denies|deny|denied|negative for|no (?:history|evidence|signs?|complaints?|"
    r"known) of|(?:(?:pertinent|significant|relevant) )?negatives(?: on \w+)?|negative|absent|"
    r"(?:has|have|had|with|there (?:is|was|are|were)) no|(?<![^\n])no(?=~:)|"
    r"not present|none of|without|(?:does|did) not (?:have|report|endorse)|ruled out|"
    r"no (?:known|personal) (?:history of)?|never had|reports? no)"
    r"|(?P<uncertain>rule out|r/o|(?:differential(?: diagnos[ei]s)?|ddx)(?: includes?)?|possible|"
    r"suspected))(?: (?:the|any|all|of|following|these|symptoms?|signs?|to|in|both|eyes|today|now))"
    r"{0,6}(?:~:~|~)$"
)


def in_front(note: NoteForm) -> Iterator[Cue]:
    """Yield cues whose findings follow them, directly or in a list."""
    for match in LISTED.finditer(note.text):
        if OTHER_DENIED.match(note.text, match.end()) or LINE_REST.match(note.text, match.end()):
            continue  # of the lines below: lead_ins
        end = min(note.until(LIST_STOP, match.end()), note.until(LISTED, match.end()))
        heads = note.of_label(note.within(match.end(), end), "problem")
        if not _compared(note, match, heads):
            yield Cue("negation", *bare(note.text, match), heads)
    yield from _directly_denied(note)
    for match in AVOID.finditer(note.text):
        first = _directly_after(note, match.end())
        heads = [] if first is None else note.coordinated_after(first, lists=True)
        yield Cue("negation", *match.span("cue"), note.of_label(heads, "drug", "treatment"))
    for pattern in (PERHAPS, QUESTION):
        for match in pattern.finditer(note.text):
            first = _directly_after(note, match.end())
            if first is None or DENIED_DOUBT.search(note.before(match.start(), 24)):
                continue
            lists = match.group().endswith(":") or LISTS_DOUBT.match(match["cue"]) is not None
            heads = note.coordinated_after(first, lists=lists)
            yield Cue("uncertain", *bare(note.text, match), heads)


def _directly_denied(note: NoteForm) -> Iterator[Cue]:
    """Yield "no" and its like: of findings; "no" and "without" of therapies too, "off" of these."""
    for match in NO.finditer(note.text):
        cue = match["cue"].lower()
        first = _directly_after(note, match.end())
        if first is None or OTHER_DENIED.match(note.text, match.end()):
            continue
        if _compared(note, match, [first]):
            continue
        if ASKED.search(note.before(match.start(), 3)) and ANSWERED.match(
            note.text, note.entities[first].end
        ):
            continue  # "Cough: No Fever: Yes"
        lists = match.group().endswith(":")
        heads = note.coordinated_after(first, lists=lists, whole_clause=True)
        if cue in ("off", "not on"):
            stopped = cue != "off" or THERAPY_STOPPED.search(note.before(match.start(), 3))
            heads = note.of_label(heads, "drug", "treatment") if stopped else []
        elif cue in ("no", "without", "does not need", "did not require", "did not need"):
            heads = note.of_label(heads, "problem", "drug", "treatment")
        else:
            heads = note.of_label(heads, "problem")
        yield Cue("negation", *bare(note.text, match), heads)


def _compared(note: NoteForm, cue: re.Match[str], heads: Sequence[int]) -> bool:
    """Tell whether the patient has the finding, and has not had one like it before."""
    if not (heads and cue["cue"].lower().endswith((" had", "experienced"))):
        return False
    return COMPARED.match(note.text, note.entities[heads[-1]].end) is not None


def _directly_after(note: NoteForm, start: int) -> int | None:
    """Return the entity behind `start`, if only fillers stand between the two."""
    at = bisect_left(note.starts, start)
    if at == len(note.mains):
        return None
    place = note.entities[note.mains[at]].start
    return note.mains[at] if FILLERS.fullmatch(note.text, start, place) else None


def alternatives(note: NoteForm) -> Iterator[Cue]:
    """Yield "versus" between two findings, of which at most one is there."""
    for left, right in pairwise(note.of_label(note.mains, "problem")):
        start, end = note.entities[left].end, note.entities[right].start
        match = VERSUS.fullmatch(note.text, start, end) if start < end else None
        if match:
            yield Cue("uncertain", *match.span("cue"), [left, right])


def lead_ins(note: NoteForm) -> Iterator[Cue]:
    """Yield cues that end a line, with the findings of the list below it.

    Without a colon only bullets are a list. What is said to be there ("but has edema") is not.
    """
    for number, (start, end) in enumerate(note.lines):
        match = LEAD_IN.search(note.text, start, end)
        if match is None or match.end() != end:
            continue
        label = "negation" if match["negation"] else "uncertain"
        bullets_only = not match.group().rstrip().endswith(":")
        if bullets_only and ":" in note.text[start:end]:
            continue  # "Smoking: denies"
        heads: list[int] = []
        for first, last in note.list_below(number, bullets_only=bullets_only):
            heads += note.within(first, min(last, note.until(BUT, first)))
        yield Cue(label, *match.span(label), note.of_label(heads, "problem", "drug", "treatment"))
