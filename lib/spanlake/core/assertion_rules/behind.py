"""Cues behind a finding: "Pneumonia was ruled out", "fissure or fistula not seen", "edema (-)"."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from spanlake.core.assertion_rules.boxes import LINE_LEAD
from spanlake.core.assertion_rules.note_form import END, GAP, Cue, NoteForm, rule

VERBS = (
    r"(?:present|seen|identified|noted|found|observed|appreciated|visuali[sz]ed|detected|"
    r"detectable|demonstrated|shown|evident|apparent|suspected|suggested|supported|confirmed|felt|"
    r"palpated|palpable|heard|elicited|reported|endorsed|known|there|diagnosed|documented|made out)"
)
DONE = (
    r"(?:given|started|taken|taking|needed|required|indicated|used|done|performed|tested|ordered|"
    r"obtained|administered|recommended|warranted|placed)"
)
ADVERB = (
    r"(?:currently|clearly|definitely|definitively|clinically|specifically|yet|now|really|ever|"
    r"otherwise|radiographically|sonographically|effectively|well|at this time)"
)
AUXILIARY = (
    r"(?:(?:is|was|are|were|be|been|being|has|have|had|remains?|appears?|does|did|do)"
    rf" (?:{ADVERB} )?){{0,3}}"
)
CANNOT = r"(?:cannot|can not|could not|can't|couldn't|may not)"
PLACE = r"(?: (?:in|on|of|at|within|over)(?: [\w'-]+){1,4})?"  # "in the left atrium"

# What was not seen earlier is there now.
ON_PRIOR = (
    r" (?:previously|before|earlier|(?:on|in|at|by) (?:(?:the|his|her|any|most recent) )?"
    r"(?:prior|previous|old|older|earlier|last|initial|comparison))\b"
)
# "Chest pain, unlikely to be PE": the doubt is of what follows.
OF_NEXT = r" (?:to|to represent|cardiac|due to|related to|secondary to)\b"
DOUBT = rule(
    r"~[,:(|–—-]?~(?:(?:is|was|are|were|felt|thought|considered|appears?|seems?|but|remains?|"
    rf"deemed|to be|{ADVERB}) ){{0,5}}(?P<cue>"
    rf"(?:(?:very |highly |less )?(?:unlikely|improbable|doubted|unconfirmed)"
    rf"|(?:less |not (?:\w+ )?)(?:likely|favou?red|probable|plausible))(?!{OF_NEXT})"
    r"|(?:still |more |most |very |quite )?(?:possible|possibly|probable|probably|likely|"
    r"suspected|suspect|questioned|questionable|presumed|presumptive|provisional|favou?red|"
    r"indeterminate|doubtful|equivocal|conceivable|plausible|queried|query|uncertain|unsure|"
    rf"in question){END}"
    rf"|needs? exclusion|{CANNOT} (?:\w+ )?be dismissed"
    rf"|{CANNOT} be (?:\w+ )?(?:excluded|ruled out)"
    r"|not (?:yet |been |entirely |completely |definitively ){0,3}(?:excluded|ruled out)"
    r"|(?:must|to) be (?:excluded|ruled out)|(?:needs?|has|have|remains?|still) to be (?:excluded|"
    r"ruled out)|should be (?:considered|excluded)|a possibility"
    rf"|in the differential|may contribute|to exclude{END})(?!\w)"
)
QUESTION_MARK = rule(
    r"~(?P<cue>\?{1,3})(?=~(?:[.,;)|\n]|$)|\s(?!Yes|No|Never|Denie|Unknown)[A-Z][a-z])", case=True
)
NEGATION = rule(
    rf"{PLACE}~[:;|–—-]*+~(?:(?:(?:is|was|were) )?(?:initially )?suspected,? but )?{AUXILIARY}"
    r"(?P<cue>(?:effectively |since |subsequently )?(?:ruled|r/o'?d) out|"
    rf"(?:{ADVERB} )?excluded|negated|(?:could|can) be excluded"
    rf"|not (?:been )?(?:{ADVERB} )?(?:{VERBS}|a (?:concern|feature))"
    rf"|(?:none|nil) {VERBS}|no {VERBS}{END}|never (?:been )?{VERBS}"
    r"|(?:did|has|have|had) not (?:occur(?:red)?|recur(?:red)?|develop(?:ed)?|happen(?:ed)?)"
    r"|(?:absent|denied|denies|nil|never|none(?: (?:this|since|so|in|at) \w+)?|negative|neg|no|"
    r"zero|not (?:an )?(?:issue|problem)|no (?:signs?|history|evidence|symptoms?|episodes?|"
    rf"suspicion|concerns?|complaints?|one)){END})(?!\w|{ON_PRIOR})|,~(?P<aside>not {VERBS}){END}"
)
NOT_DONE = rule(
    rf"~[:–—-]?~{AUXILIARY}(?P<cue>not (?:been )?(?:{ADVERB} )?{DONE}|never (?:been )?{DONE}"
    rf"|no longer (?:\w+ )?{DONE}|(?:declined|refused|avoided){END})(?!\w)"
)
SIGN = rule(r"~:?~(?P<cue>[(\[]~(?:-|−|–|neg(?:ative)?)~[)\]]|(?<=\s)-ve\b)")
SIGN_IN_BRACKETS = rule(r"[(\[]~(?:[-−–+]|neg(?:ative)?|pos(?:itive)?)~[)\]]|(?<=\s)-ve\b")
FREE = rule(rf" (?P<cue>free){END}")
ZERO = rule(r" (?P<cue>0)(?=~(?:[.,;)]?~(?:\n|$)|[.,;]\s))")
MINUS = rule(rf"~(?P<cue>[-−])(?={GAP}|~(?:\n|$|[.,;]\s|/))")
SIGNS = rule(rf"\w~[-−+](?={GAP}|~(?:\n|$|[.,;]\s|/))")
DENIED = rule(r"(?<!\w)(?:no|without) \Z")
ASKING = rule(r"(?:what|how|why|when|where|which|who|do|does|did|is|are|can|should|will)\b")


def behind(note: NoteForm) -> Iterator[Cue]:
    """Yield what is said behind a finding, of it and of what is coordinated with it."""
    for i in note.mains:
        cue = _doubt(note, i) or _negation(note, i)
        if cue:
            yield cue


def _doubt(note: NoteForm, i: int) -> Cue | None:
    entity = note.entities[i]
    match = DOUBT.match(note.text, entity.end)
    if match is None and not ASKING.match(note.text, note.sentence_start(entity.start)):
        match = QUESTION_MARK.match(note.text, entity.end)
    if match is None or DENIED.search(note.before(entity.start, 12)):
        return None
    return Cue("uncertain", *match.span("cue"), note.coordinated_before(i, lists=False))


def _negation(note: NoteForm, i: int) -> Cue | None:
    entity = note.entities[i]
    problem = entity.label == "problem"
    for pattern in (NEGATION, SIGN, FREE, ZERO) if problem else (NOT_DONE,):
        match = pattern.match(note.text, entity.end)
        if match and not (pattern is SIGN and _signs_in_front(note, match.start("cue"))):
            alone = pattern in (SIGN, ZERO)
            heads = [i] if alone else note.coordinated_before(i, lists=False)
            aside = pattern is NEGATION and match["aside"]
            return Cue("negation", *match.span("aside" if aside else "cue"), heads)
    sign = MINUS.match(note.text, entity.end) if problem else None
    if sign is None:
        return None
    start, end = note.line_at(entity.end)
    signs = note.places(SIGNS)  # one minus alone may be a dash
    several = bisect_left(signs, end) - bisect_left(signs, start) > 1
    return Cue("negation", *sign.span("cue"), [i]) if several else None


def _signs_in_front(note: NoteForm, place: int) -> bool:
    """Tell whether the line begins with a sign, perhaps behind a label: "(+) A (-) B"."""
    start, _ = note.line_at(place)
    signs = note.places(SIGN_IN_BRACKETS)
    sign = signs[bisect_left(signs, start)]
    at = bisect_left(note.starts, start)
    if at < len(note.starts) and note.starts[at] < sign:
        return False
    return LINE_LEAD.fullmatch(note.text, start, sign) is not None
