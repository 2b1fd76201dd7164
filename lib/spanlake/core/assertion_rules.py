"""Negation, uncertainty and subject by rules, for forms that a sentence tagger does not learn.

A note is full of forms whose meaning is fixed: check boxes, YES/NO answers, "was ruled out" behind
a finding, "Patient denies:" above a list, a FAMILY HISTORY section. The rules go by cue words and
punctuation, as NegEx (Chapman 2001) and ConText (Harkema 2009) do, and by the note's lines. They
add a modifier at the cue, and a relation to it, where the model has related the entity to no
modifier of that label; what the model has found is never changed. Added rows have no score.

Every form is a generator over a note: it yields cues, each with the entities that it governs.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from spanlake.core.labels import LabelSet
from spanlake.core.spans import Annotation, Entity, Relation, Span
from spanlake.core.units import Sentence

RULES_VERSION = "1"  # raise when a rule could change a row of any note

S = r"[^\S\n]"  # white space within a logical line (a wrapped line is one)
GAP = r"(?:[ ]{2}|\t)"  # between columns
END = rf"(?={S}*(?:[.,;)|\n]|{GAP}|\(|$))"  # what follows an answer
# Ends what a cue governs. ".," stands where a line break was lost (MTSamples as handed around).
CLAUSE = r"(?:\n|[.;](?=\s|$)|[.:](?=,\S))"
ARTICLE = r"(?:a|an|the|any|some|his|her|their)"
# A word with these before the finding says that something else than the finding is denied.
OTHER_DENIED = re.compile(
    rf"{S}*{ARTICLE}?{S}*(?:further|significant|more|real)?{S}*(?:relief|change|changes|improvement|"
    r"increase|decrease|worsening|progression|response|resolution|longer|only|doubt|reason|"
    r"difference|need|interval)\b",
    re.IGNORECASE,
)
VERBS = (
    r"present|seen|identified|noted|found|observed|appreciated|visuali[sz]ed|detected|detectable|demonstrated|"
    r"evident|apparent|suspected|suggested|supported|confirmed|felt|palpated|palpable|heard|"
    r"elicited|reported|endorsed|known|there|diagnosed|documented"
)
DONE = (
    r"given|started|taken|taking|needed|required|indicated|used|done|performed|tested|ordered|"
    r"obtained|administered|recommended|warranted|placed"
)
ADVERB = (
    r"(?:currently|clearly|definitely|definitively|clinically|specifically|yet|now|really|ever|"
    r"otherwise|radiographically|effectively|well|at{s}this{s}time)".replace("{s}", S + "+")
)
AUX = (
    rf"(?:(?:is|was|are|were|be|been|being|has|have|had|remains?|appears?|does|did|do)"
    rf"{S}+(?:{ADVERB}{S}+)?){{0,3}}"
)
REACH = 4000  # characters that a cue may govern: linear time where nothing ends a sentence
POSITIVE_DOUBT = r"(?:cannot|can{s}not|could{s}not|can't|couldn't|may{s}not)".replace("{s}", S + "+")


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue of one modifier label at ``[start, end)``, and positions of the entities it governs."""

    label: str
    start: int
    end: int
    heads: Sequence[int]


@dataclass(slots=True)
class NoteForm:
    """A note as the rules see it.

    `text` is the note with the line breaks within sentences as spaces, so that a line of it is a
    logical line; offsets are those of the note. `mains` are positions of main entities in
    `entities`, in order of their place.
    """

    text: str
    sentences: Sequence[Sentence]
    entities: Sequence[Entity]
    mains: list[int]
    starts: list[int] = field(init=False)
    ranks: dict[int, int] = field(init=False)
    lines: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = [self.entities[i].start for i in self.mains]
        self.ranks = {main: rank for rank, main in enumerate(self.mains)}
        breaks = [m.start() for m in re.finditer("\n", self.text)]
        self.lines = list(zip([0, *(b + 1 for b in breaks)], [*breaks, len(self.text)], strict=True))

    def within(self, start: int, end: int) -> list[int]:
        """Return the main entities that lie wholly in ``[start, end)``."""
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        return [i for i in self.mains[first:last] if self.entities[i].end <= end]

    def until(self, stop: re.Pattern[str], start: int) -> int:
        """Return where `stop` first matches behind `start`, at most `REACH` characters away."""
        end = min(len(self.text), start + REACH)
        found = stop.search(self.text, start, end)
        return found.start() if found else end

    def between(self, left: int, right: int) -> str:
        """Return the text between two entities; empty where they touch or overlap."""
        return self.text[self.entities[left].end : self.entities[right].start]

    def signs_on_line(self, place: int) -> int:
        """Return how many findings of the line at `place` end with a plus or minus sign."""
        at = max(0, bisect_right(self.lines, (place, len(self.text))) - 1)
        return sum(1 for _ in SIGNS.finditer(self.text, *self.lines[at]))

    def asks(self, entity: Entity) -> bool:
        """Tell whether the entity stands in a sentence that begins as a question does."""
        at = bisect_right(self.sentences, entity.start, key=lambda one: one.span.start) - 1
        return at >= 0 and ASKING.match(self.text, self.sentences[at].span.start) is not None

    def coordinated_before(self, last: int, *, lists: bool) -> list[int]:
        """Return entities that share what follows `last`: "fissure or fistula not seen".

        A comma joins only in a list that ends with "or", "nor" or "/", or where `lists`.
        """
        found, at = [last], self.ranks[last]
        while at > 0:
            gap = self.between(self.mains[at - 1], found[0])
            strong = JOINED_STRONGLY.fullmatch(gap)
            if not (strong or ((lists or len(found) > 1) and JOINED.fullmatch(gap))):
                break
            found.insert(0, self.mains[at - 1])
            at -= 1
        return found

    def coordinated_after(self, first: int, *, lists: bool) -> list[int]:
        """Return entities that share what stands before `first`: "no fissure, fistula or abscess".

        Without `lists`, a comma joins only where "or", "nor" or "/" ends the list.
        """
        at = self.ranks[first]
        found, kept = [first], 1
        while at + 1 < len(self.mains):
            gap = self.between(found[-1], self.mains[at + 1])
            strong = JOINED_STRONGLY.fullmatch(gap)
            if not (strong or JOINED.fullmatch(gap)):
                break
            found.append(self.mains[at + 1])
            kept = len(found) if strong or lists else kept
            at += 1
        return found[:kept]


JOINED_STRONGLY = re.compile(
    rf"{S}*(?:,?{S}*(?:or|nor|and/or){S}+|/{S}*)(?:{ARTICLE}{S}+)?", re.IGNORECASE
)
JOINED = re.compile(rf"{S}*(?:,{S}*(?:and{S}+)?|and{S}+|&{S}*)(?:{ARTICLE}{S}+)?", re.IGNORECASE)
Form = Callable[[NoteForm], Iterable[Cue]]


def add_assertions(
    note_text: str,
    sentences: Sequence[Sentence],
    annotation: Annotation,
    index: Sequence[int],
    labels: LabelSet,
) -> tuple[Annotation, list[int]]:
    """Return the annotation with what the rules add, and the sentence that each entity stands in.

    `index` holds the sentence of every entity of `annotation`; added modifiers come after them.
    A cue may overlap a modifier of another label, which is the model's ("negative" as the value of
    a test). Time is linear in the length of the note.
    """
    if not labels.relations or not annotation.entities:
        return annotation, list(index)
    mains = [i for i, e in enumerate(annotation.entities) if e.label in labels.main]
    mains.sort(key=lambda i: annotation.entities[i].span)
    note = NoteForm(_logical_lines(note_text, sentences), sentences, annotation.entities, mains)
    adding = _Adding(note_text, annotation, labels)
    for form in FORMS:
        for cue in form(note):
            adding.add(cue)
    starts = [sentence.span.start for sentence in sentences]
    added = adding.entities[len(annotation.entities) :]
    places = [max(0, bisect_right(starts, entity.start) - 1) for entity in added]
    found = Annotation(tuple(adding.entities), tuple(adding.relations))
    return found, [*index, *places]


def _logical_lines(note_text: str, sentences: Sequence[Sentence]) -> str:
    """Return the text with LF for every line break but those within sentences.

    These, and the indentation behind them, become no-break spaces, which part no columns.
    """
    parts, at = [], 0
    for sentence in sentences:
        span = sentence.span
        parts.append(OTHER_BREAK.sub("\n", note_text[at : span.start]))
        parts.append(WRAP.sub(_blank, note_text[span.start : span.end]))
        at = span.end
    return "".join([*parts, OTHER_BREAK.sub("\n", note_text[at:])])


def _blank(found: re.Match[str]) -> str:
    return "\xa0" * len(found.group())


WRAP = re.compile(r"[ \t]*[\n\r\v\f\x85\u2028\u2029]\s*")
OTHER_BREAK = re.compile(r"[\r\v\f\x85\u2028\u2029]")


class _Adding:
    """Collects what is added: a modifier a cue, a relation an entity that has none of the label."""

    def __init__(self, note_text: str, annotation: Annotation, labels: LabelSet) -> None:
        self.note_text, self.labels = note_text, labels
        self.entities = list(annotation.entities)
        self.relations = list(annotation.relations)
        self._name = next(iter(labels.relations))
        self._known = {
            (r.head, annotation.entities[r.tail].label) for r in annotation.relations
        }
        self._cues: dict[str, list[tuple[Span, int]]] = {}
        for i, entity in enumerate(annotation.entities):
            self._cues.setdefault(entity.label, []).append((entity.span, i))
        for cues in self._cues.values():
            cues.sort()

    def add(self, cue: Cue) -> None:
        heads = [
            head
            for head in cue.heads
            if (head, cue.label) not in self._known
            and self.labels.allows(self.entities[head].label, cue.label)
            and not self.entities[head].span.overlaps(Span(cue.start, cue.end))
        ]
        if not heads:
            return
        tail = self._cue_entity(cue)
        for head in dict.fromkeys(heads):
            self._known.add((head, cue.label))
            self.relations.append(Relation(head, tail, self._name, None, by_rule=True))

    def _cue_entity(self, cue: Cue) -> int:
        """Return the modifier at the cue: one of its label that is there already, or a new one."""
        cues, span = self._cues.setdefault(cue.label, []), Span(cue.start, cue.end)
        at = bisect_left(cues, (span, -1))
        for known, i in cues[max(0, at - 1) : at + 1]:
            if known.overlaps(span):
                return i
        text = self.note_text[cue.start : cue.end]
        self.entities.append(Entity(span, cue.label, text, None, by_rule=True))
        cues.insert(at, (span, len(self.entities) - 1))
        return len(self.entities) - 1


# --- behind the finding: "Pneumonia was ruled out", "Fever: none", "edema (-)" -------------------

PLACE = rf"(?:{S}+(?:in|on|of|at|within|over)(?:{S}+[\w'-]+){{1,4}})?"  # "in the left atrium"
BEHIND_DOUBT = re.compile(
    rf"{S}*[,:(–—-]?{S}*(?:(?:is|was|are|were|felt|thought|considered|appears?|seems?|but|remains?|"
    rf"deemed|to{S}+be|{ADVERB}){S}+){{0,5}}(?P<cue>"
    rf"(?:very{S}+|highly{S}+|less{S}+)?(?:unlikely|improbable|doubted|unconfirmed)"
    rf"|(?:less{S}+|not{S}+(?:\w+{S}+)?)(?:likely|favou?red|probable|plausible)"
    rf"|(?:still{S}+|more{S}+|most{S}+|very{S}+|quite{S}+)?(?:possible|possibly|probable|probably|"
    rf"likely|suspected|questioned|questionable|presumed|presumptive|favou?red|indeterminate|"
    rf"doubtful|equivocal|conceivable|plausible|queried|uncertain|unsure){END}"
    rf"|needs?{S}+exclusion|{POSITIVE_DOUBT}{S}+(?:\w+{S}+)?be{S}+dismissed"
    rf"|{POSITIVE_DOUBT}{S}+be{S}+(?:\w+{S}+)?(?:excluded|ruled{S}+out)"
    rf"|not{S}+(?:yet{S}+|been{S}+|entirely{S}+|completely{S}+|definitively{S}+){{0,3}}"
    rf"(?:excluded|ruled{S}+out)"
    rf"|must{S}+be{S}+(?:excluded|ruled{S}+out)"
    rf"|(?:needs?|has|have|remains?|still){S}+to{S}+be{S}+(?:excluded|ruled{S}+out)"
    rf"|to{S}+be{S}+(?:excluded|ruled{S}+out)"
    rf"|should{S}+be{S}+(?:considered|excluded)|a{S}+possibility"
    rf"|in{S}+the{S}+differential|may{S}+contribute|to{S}+exclude{END})(?!\w)",
    re.IGNORECASE,
)
QUESTION_BEHIND = re.compile(rf"{S}?(?P<cue>\?{{1,3}})(?={S}*(?:[.,;)|\n]|$|{S}(?!Yes|No)[A-Z][a-z]))")
MINUS_BEHIND = re.compile(rf"{S}?(?P<cue>[-−])(?={GAP}|{S}*(?:\n|$|[.,;]{S}))")
SIGNS = re.compile(rf"\w{S}?[-−+](?={GAP}|{S}*(?:\n|$|[.,;]{S}))")
BEHIND_NEGATION = re.compile(
    rf"{PLACE}{S}*[:–—-]*{S}*{AUX}(?P<cue>"
    rf"(?:effectively{S}+)?(?:ruled|r/o'?d){S}+out|excluded|negated|(?:could|can){S}+be{S}+excluded|not{S}+(?:been{S}+)?(?:{ADVERB}{S}+)?"
    rf"(?:{VERBS}|a{S}+(?:concern|feature))|(?:none|nil){S}+(?:{VERBS})"
    rf"|never{S}+(?:been{S}+)?(?:{VERBS})|(?:did|has|have|had){S}+not{S}+"
    rf"(?:occur(?:red)?|recur(?:red)?|develop(?:ed)?|happen(?:ed)?)"
    rf"|(?:absent|denied|nil|none|negative|neg|not{S}+(?:an{S}+)?(?:issue|problem)|no{S}+(?:signs?|history|"
    rf"evidence|symptoms?)){END})(?!\w)"
    rf"|,{S}*(?P<aside>not{S}+(?:{VERBS})){END}",
    re.IGNORECASE,
)
NOT_DONE = re.compile(
    rf"{S}*[:–—-]?{S}*{AUX}(?P<cue>not{S}+(?:been{S}+)?(?:{ADVERB}{S}+)?(?:{DONE})"
    rf"|never{S}+(?:been{S}+)?(?:{DONE})|(?:declined|refused|avoided){END})(?!\w)",
    re.IGNORECASE,
)
SIGN_BEHIND = re.compile(rf"{S}?(?P<cue>[(\[]{S}*(?:-|−|–|neg(?:ative)?){S}*[)\]]|(?<=\s)-ve\b)")
DENIED = re.compile(rf"(?<!\w)(?:no|without){S}+$", re.IGNORECASE)
ASKING = re.compile(
    r"(?:what|how|why|when|where|which|who|do|does|did|is|are|can|should|will)\b", re.IGNORECASE
)
FREE = re.compile(rf"{S}(?P<cue>free){END}", re.IGNORECASE)
ZERO = re.compile(rf"{S}(?P<cue>0)(?={S}*(?:[.,;)]?{S}*(?:\n|$)|[.,;]{S}))")


def behind(note: NoteForm) -> Iterator[Cue]:
    """Yield what is said behind a finding, of it and of what is coordinated with it."""
    for i in note.mains:
        entity = note.entities[i]
        end, problem = entity.end, entity.label == "problem"
        doubt = BEHIND_DOUBT.match(note.text, end) or (
            QUESTION_BEHIND.match(note.text, end) if not note.asks(entity) else None
        )
        if doubt and not DENIED.search(note.text, max(0, entity.start - 12), entity.start):
            heads = note.coordinated_before(i, lists=False)
            yield Cue("uncertain", *doubt.span("cue"), heads)
            continue
        patterns = (BEHIND_NEGATION, SIGN_BEHIND, FREE, ZERO) if problem else (NOT_DONE,)
        for pattern in patterns:
            found = pattern.match(note.text, end)
            if found:
                alone = pattern in (SIGN_BEHIND, ZERO)
                heads = [i] if alone else note.coordinated_before(i, lists=False)
                aside = pattern is BEHIND_NEGATION and found["aside"]
                yield Cue("negation", *found.span("aside" if aside else "cue"), heads)
                break
        else:
            sign = MINUS_BEHIND.match(note.text, end) if problem else None
            if sign and note.signs_on_line(end) > 1:
                yield Cue("negation", *sign.span("cue"), [i])


# --- answers: "Cough: no", "Weight loss ........ NO", "| Gout | no |", "Lump in the breast?  NO" --

ANSWER = re.compile(
    rf"(?P<mark>{S}*(?:(?P<dots>[._·]{{3,}}:?)|(?P<asked>\?:?)|(?P<colon>:)|(?P<bar>\|)|"
    rf"(?P<dash>{S}[-–—]+(?={S}))|(?P<gap>{GAP}))){S}*"
    rf"(?P<word>(?:[Nn]o|NO|[Nn]one(?:{S}+known)?|NONE|[Nn]il|NIL|[Nn]eg(?:ative)?|NEG(?:ATIVE)?|[Dd]enie[sd]|"
    rf"DENIE[SD]|[Aa]bsent|ABSENT|[Nn]ever|N|-|−|0)(?:{S}*/{S}*(?:no|NO|No|N))?"
    rf"|[Yy]es|YES|Y|\+|[Pp]ositive|POSITIVE|[Pp]resent|PRESENT)"
    rf"(?={S}*(?:[.,;)(|\n]|{GAP}|[-–—]{S}|$))"
)
CHOICE = re.compile(rf"{S}*[(\[]?(?:[Yy]es|[Yy]|YES){S}*/{S}*(?:[Nn]o|[Nn]|NO)[)\]]?{S}*$")
AFFIRMED = re.compile(r"yes|y|\+|positive|present", re.IGNORECASE)
SEGMENT = re.compile(rf"[.;|](?={S}|$)|{GAP}[ \t]*")
BULLET_ONLY = re.compile(r"[\s•*·|#>-]*(?:\d{1,2}[.)])?\s*")
SHORT_QUALIFIER = re.compile(rf"(?:{S}+[\w'/-]+){{0,5}}{S}*(?:\([^()\n]{{0,40}}\))?{S}*")


def answers(note: NoteForm) -> Iterator[Cue]:
    """Yield answers of no to questions of one line, which may hold several."""
    for start, end in note.lines:
        before = start
        for found in ANSWER.finditer(note.text, start, end):
            first = _segment(note.text, before, found.start())
            asked, before = note.within(first, found.start()), found.end()
            if not asked or AFFIRMED.fullmatch(found["word"]):
                continue
            last = note.entities[asked[-1]]
            rest = CHOICE.sub("", note.text[last.end : found.start()])
            if not (found["dots"] or found["asked"] or SHORT_QUALIFIER.fullmatch(rest)):
                continue
            if found["word"] in ("-", "−", "0") and not (found["colon"] or found["dots"]):
                continue
            alone = BULLET_ONLY.fullmatch(note.text, first, last.start) is not None
            heads = (
                asked if found["asked"] or found["dots"] or found["bar"]
                else note.coordinated_before(asked[-1], lists=alone)
            )  # fmt: skip
            yield Cue("negation", *found.span("word"), _problems(note, heads, found["word"]))


def _segment(text: str, start: int, end: int) -> int:
    """Return where the question that ends at `end` begins: behind the last mark of its line."""
    last = start
    for mark in SEGMENT.finditer(text, start, end):
        if mark.end() < end:
            last = mark.end()
    return last


def _problems(note: NoteForm, heads: Iterable[int], word: str) -> list[int]:
    """Leave out tests and drugs where the answer may be a value ("Urine ketones: neg")."""
    plain = word.lower() in ("no", "none", "nil", "never", "n", "denies", "denied")
    return [i for i in heads if note.entities[i].label == "problem" or
            (plain and note.entities[i].label != "test")]  # fmt: skip


# --- boxes: "[ ] Chills", "☐ Rash", "Headache: [ ] Yes [x] No" -----------------------------------

UNDERSCORES = r"(?:(?<!\w)|(?<=\b[Yy]es)|(?<=\bYES)|(?<=\b[Nn]o)|(?<=\bNO))"
EMPTY = rf"\[{S}*\]|\({S}+\)|[☐□▢◻]|{UNDERSCORES}_{{2,}}(?![xX✓_])(?=\w|{S})"
TICKED = rf"\[{S}*[xX✓✔✗✘*]{S}*\]|\({S}*[xX✓✔]{S}*\)|[☑☒■✓✔]|{UNDERSCORES}_+[xX✓]_+"
MINUS = r"\[-\]|\(-\)|\[−\]"
PLUS = r"\[\+\]|\(\+\)"
BOX = re.compile(
    rf"(?P<empty>{EMPTY})|(?P<ticked>{TICKED})|(?P<minus>{MINUS})|(?P<plus>{PLUS})"
)
ANSWER_WORD = re.compile(rf"{S}*(?P<word>yes|no|y|n|present|absent|denies)\b", re.IGNORECASE)
WORD_BEFORE = re.compile(rf"(?<![A-Za-z])(?P<word>yes|no|y|n){S}*$", re.IGNORECASE)
Worded = tuple[int, int, bool]  # place of an answer word, and whether it is "no"
BRACKETED = re.compile(
    rf"(?:(?:Y|yes){S}*[/|]{S}*(?P<no>\[{S}*(?:N|no){S}*\]|\({S}*(?:N|no){S}*\)))"
    rf"|(?:(?:\[{S}*(?:Y|yes){S}*\]|\({S}*(?:Y|yes){S}*\)){S}*[/|]{S}*(?:N|no)\b)",
    re.IGNORECASE,
)
LINE_LEAD = re.compile(rf"{S}*(?:[-*•·]|\d{{1,2}}[.)])?{S}*(?:[\w{S}/]{{0,40}}:)?{S}*")


def boxes(note: NoteForm) -> Iterator[Cue]:
    """Yield empty boxes before findings, and ticked boxes of "no" behind them."""
    for start, end in note.lines:
        yield from _bracketed_choice(note, start, end)
        marks = list(BOX.finditer(note.text, start, end))
        if not marks:
            continue
        spans = [mark.span() for mark in marks]
        worded = _answer_words(note.text, marks, end)
        if any(worded):
            yield from _worded_boxes(note, (start, end), marks, worded)
            continue
        in_front = LINE_LEAD.fullmatch(note.text, start, spans[0][0]) is not None
        edges = [span[0] for span in spans[1:]] + [end]
        for mark, edge in zip(marks, edges, strict=True):
            if mark["empty"] or mark["minus"]:
                if in_front or not _ends_finding(note, mark.start()):
                    heads = _right_after(note, mark.end(), edge)
                    if len(marks) == 1:  # perhaps something to do: "[ ] repeat CBC"
                        heads = _of_label(note, heads, "problem")
                    yield Cue("negation", *mark.span(), heads)


def _answer_words(text: str, marks: Sequence[re.Match[str]], end: int) -> list[Worded | None]:
    """Return the answer word of each box of a line: the one behind it, else the one before it."""
    behind = [ANSWER_WORD.match(text, mark.end(), end) for mark in marks]
    if behind[0] is None:
        before = [WORD_BEFORE.search(text, max(0, mark.start() - 8), mark.start()) for mark in marks]
        return [_worded(word) for word in before]
    return [_worded(word) for word in behind]


def _worded(found: re.Match[str] | None) -> Worded | None:
    if found is None:
        return None
    return (*found.span("word"), found["word"].lower() in ("no", "n", "absent", "denies"))


def _worded_boxes(
    note: NoteForm,
    line: tuple[int, int],
    marks: Sequence[re.Match[str]],
    worded: Sequence[Worded | None],
) -> Iterator[Cue]:
    """Yield ticked boxes of "no", with the finding before them, or behind all boxes of the line."""
    start, end = line
    pairs = [(mark, word) for mark, word in zip(marks, worded, strict=True) if word]
    last = max(max(mark.end(), word[1]) for mark, word in pairs)
    in_front = not note.within(start, min(pairs[0][0].start(), pairs[0][1][0]))
    before = start
    heads: list[int] = []
    for mark, word in pairs:
        place = min(mark.start(), word[0])
        heads = note.within(before, place) or heads
        before = max(mark.end(), word[1])
        named = _right_after(note, last, end) if in_front else heads
        if mark["ticked"] and word[2] and named:
            shared = named if in_front else note.coordinated_before(named[-1], lists=True)
            yield Cue("negation", word[0], word[1], [i for i in named if i in shared])


def _bracketed_choice(note: NoteForm, start: int, end: int) -> Iterator[Cue]:
    for found in BRACKETED.finditer(note.text, start, end):
        heads = note.within(_segment(note.text, start, found.start()), found.start())
        if found["no"] and heads:
            yield Cue("negation", *found.span("no"), heads)


def _ends_finding(note: NoteForm, place: int) -> bool:
    """Tell whether a finding ends right before a place, so that a sign there belongs to it."""
    at = bisect_left(note.starts, place) - 1
    return at >= 0 and not note.text[note.entities[note.mains[at]].end : place].strip()


def _right_after(note: NoteForm, start: int, end: int) -> list[int]:
    """Return the entity that begins right behind a box, and what is coordinated with it."""
    heads = note.within(start, end)
    if not heads or not SHORT_LEAD.fullmatch(note.text[start : note.entities[heads[0]].start]):
        return []
    return [i for i in note.coordinated_after(heads[0], lists=True) if i in heads]


SHORT_LEAD = re.compile(
    rf"{S}*(?:(?:any|a|an|the|new|recent|severe|history{S}+of|hx{S}+of){S}+){{0,2}}", re.IGNORECASE
)


# --- columns: a table of YES and NO with a cross in one of them ----------------------------------

COLUMNS = re.compile(rf"(?P<first>YES|Yes){S}{{1,12}}(?P<second>NO|No){S}*$")
CROSS = re.compile(r"(?<=[ \t])[xX✓✔][ \t]*$")


def columns(note: NoteForm) -> Iterator[Cue]:
    """Yield crosses that stand below a NO, in the lines below a header of YES and NO."""
    header: tuple[float, float] | None = None
    for start, end in note.lines:
        line = note.text[start:end]
        if not line.strip():
            header = None
        found = COLUMNS.search(line)
        if found:
            first, second = found.span("first"), found.span("second")
            header = sum(first) / 2, sum(second) / 2
        cross = CROSS.search(line) if header else None
        if header and cross and abs(cross.start() - header[1]) < abs(cross.start() - header[0]):
            at = start + cross.start()
            yield Cue("negation", at, at + 1, note.within(start, at))


# --- in front: "Negatives: A, B", "does not report A or B", "possible A", "cannot exclude A" -----

FILLER = (
    rf"(?:{ARTICLE}|acute|new|obvious|overt|gross|significant|clear|definite|current|other|prior|"
    rf"previous|known|recent|active|underlying|early|developing|small|mild|superimposed|recurrent|"
    rf"(?:evidence|signs?|symptoms?|suggestion|indication|history|complaints?|hx|findings?|"
    rf"episodes?){S}+(?:of|for)|h/o|family{S}+(?:medical{S}+)?history{S}+of|from|related{S}+to|due{S}+to|secondary{S}+to)"
)
FILLERS = re.compile(rf"(?!{GAP}){S}*(?:{FILLER}{S}+){{0,4}}", re.IGNORECASE)
NO = re.compile(
    rf"(?<![\w-])(?P<cue>no{S}+(?:evidence|signs?|indication|suggestion|symptoms?|history|hx|"
    rf"complaints?|reports?|mention){S}+of|no|without|w/o|nothing{S}+to{S}+suggest|free{S}+of|"
    rf"n0|nor|off|neg(?:ative)?{S}+for|absence{S}+of|ruled{S}+out|neg(?=\.?{S})|"
    rf"(?:does|did|do)(?:{S}+not|n't){S}+(?:have|show|require|need|meet{S}+criteria{S}+for)|"
    rf"never{S}+(?:experienced|had)|not)(?!\w)(?:{S}*:)?",
    re.IGNORECASE,
)
LISTED = re.compile(
    rf"(?<![\w-])(?P<cue>(?:denies|denied|denying|(?:does|did|do)(?:{S}+not|n't){S}+(?:report|"
    rf"endorse|complain{S}+of)|(?:pertinent{S}+)?negatives?(?:{S}+on{S}+\w+)?{S}*:|neg(?:ative)?{S}+for|"
    rf"has{S}+not{S}+had|have{S}+not{S}+had|(?:never|not){S}+had))(?!\w)"
    rf"(?:{S}+that{S}+(?:he|she|they|it|the{S}+\w+){S}+(?:has|have|had))?",
    re.IGNORECASE,
)
AVOID = re.compile(
    rf"(?<![\w-])(?P<cue>avoid|avoided)(?!\w)", re.IGNORECASE
)
LINE_REST = re.compile(rf"{S}*(?:\n|$)")
LIST_STOP = re.compile(
    rf"{CLAUSE}|(?<!\w)(?:but|however|except|although|though|yet|reports?|reported|"
    rf"endorses?|complains?|admits?|positive{S}+for|aside|apart|which|because|since|despite|"
    rf"until|when|presents?|states|notes|she|he|they|other{S}+than|does|is|was|due{S}+to|prior{S}+to|in{S}+relation|includes?)(?!\w)",
    re.IGNORECASE,
)
DENIED_DOUBT = re.compile(rf"(?<!\w)(?:no|not|nothing{S}+to|lesion{S}+to){S}+$", re.IGNORECASE)
LISTS_DOUBT = re.compile(r"rul|differential|considered", re.IGNORECASE)
THERAPY_STOPPED = re.compile(r"(?:^|[\n,;:().\d])\s*$")
PERHAPS = re.compile(
    rf"(?<![\w-])(?P<cue>possibl[ye]|probabl[ye]|likely|unlikely|suspected|suspect|suspects|"
    rf"presumed|presumably|presumptive|questionable|query|r/o|rule{S}+out|ruling{S}+out|"
    rf"(?:to{S}+)?exclude|doubt|concern(?:ing|ed)?{S}+(?:for|about)|worrisome{S}+for|"
    rf"(?:high{S}+|low{S}+)?suspici(?:ous|on){S}+(?:for|of)|suggest(?:s|ing|ive)?(?:{S}+of)?|"
    rf"may{S}+(?:represent|reflect|be|have)|might{S}+(?:represent|reflect|be|have)|"
    rf"could{S}+(?:represent|reflect|be)|(?:some{S}+)?question{S}+of|possibility{S}+of|"
    rf"considered|wonders?{S}+(?:about|if|whether)|"
    rf"indefinite{S}+for|cannot{S}+(?:be{S}+)?(?:\w+{S}+)?(?:exclude|rule{S}+out)|"
    rf"evaluate{S}+for|differential{S}+(?:diagnos[ei]s{S}+)?includes?|"
    rf"differential(?:{S}+diagnos[ei]s)?{S}*:)(?!\w)",
    re.IGNORECASE,
)
QUESTION = re.compile(rf"(?:(?<=[\s(:,;/-])|(?<![^\n]))(?P<cue>\?{{1,3}}){S}?(?=\w)")


def in_front(note: NoteForm) -> Iterator[Cue]:
    """Yield cues whose findings follow them, directly or in a list."""
    for found in LISTED.finditer(note.text):
        if OTHER_DENIED.match(note.text, found.end()):
            continue
        if found["cue"].endswith(":") and LINE_REST.match(note.text, found.end()):
            continue  # of the lines below: lead_ins
        end = min(note.until(LIST_STOP, found.end()), note.until(LISTED, found.end()))
        heads = note.within(found.end(), end)
        yield Cue("negation", *_bare(note.text, found), _of_label(note, heads, "problem"))
    for pattern, label, lists in (
        (NO, "negation", False),
        (AVOID, "negation", True),
        (PERHAPS, "uncertain", False),
        (QUESTION, "uncertain", False),
    ):
        for found in pattern.finditer(note.text):
            listed = lists or found.group().endswith(":") or (pattern is PERHAPS and LISTS_DOUBT.match(found["cue"]) is not None)
            heads = _directly_after(note, found.end(), lists=listed)
            if not heads or LINE_REST.match(note.text, found.end()) or (pattern is NO and OTHER_DENIED.match(note.text, found.end())):
                continue
            if pattern is AVOID and note.entities[heads[0]].label == "problem":
                continue
            if found["cue"].lower() == "off" and not THERAPY_STOPPED.search(
                note.text, max(0, found.start() - 3), found.start()
            ):
                continue
            if pattern is NO:
                heads = _no(note, found["cue"].lower(), heads)
            elif DENIED_DOUBT.search(note.text, max(0, found.start() - 12), found.start()):
                continue
            yield Cue(label, *_bare(note.text, found), heads)


VERSUS = re.compile(rf"{S}*,?{S}*(?P<cue>vs\.?|versus){S}*(?:{ARTICLE}{S}+)?", re.IGNORECASE)


def alternatives(note: NoteForm) -> Iterator[Cue]:
    """Yield "versus" between two findings, of which at most one is there."""
    for left, right in pairwise(_of_label(note, note.mains, "problem")):
        start, end = note.entities[left].end, note.entities[right].start
        found = VERSUS.fullmatch(note.text, start, end) if start < end else None
        if found:
            yield Cue("uncertain", *found.span("cue"), [left, right])


def _bare(text: str, found: re.Match[str]) -> tuple[int, int]:
    """Return the place of a cue without the colon behind it."""
    start, end = found.span("cue")
    return start, start + len(text[start:end].rstrip(": "))


def _directly_after(note: NoteForm, start: int, *, lists: bool) -> list[int]:
    """Return the entity behind `start`, with fillers between them only, and its coordinates."""
    at = bisect_left(note.starts, start)
    if at == len(note.mains):
        return []
    first = note.mains[at]
    if not FILLERS.fullmatch(note.text[start : note.entities[first].start]):
        return []
    return note.coordinated_after(first, lists=lists)


def _no(note: NoteForm, cue: str, heads: list[int]) -> list[int]:
    """Return what a cue in front denies: "off" is of therapies, "not" of findings only."""
    if cue == "off":
        return [i for i in heads if note.entities[i].label in ("drug", "treatment")]
    if cue in ("no", "without", "does not need", "did not require", "did not need"):
        return [i for i in heads if note.entities[i].label != "test"]
    return _of_label(note, heads, "problem")


def _of_label(note: NoteForm, heads: Iterable[int], label: str) -> list[int]:
    return [i for i in heads if note.entities[i].label == label]


# --- a line above: "Patient denies:", "No history of:", "Rule out:", and a list below -------------

LEAD_IN = re.compile(
    rf"(?:(?P<negation>denies|denied|negative{S}+for|no{S}+(?:history|evidence|signs?|complaints?|"
    rf"known){S}+of|(?:pertinent{S}+)?negatives(?:{S}+on{S}+\w+)?|negative|absent|not{S}+present|none{S}+of|without|"
    rf"(?:does|did){S}+not{S}+(?:have|report|endorse)|ruled{S}+out|no{S}+(?:known|personal)"
    rf"{S}+(?:history{S}+of)?)"
    rf"|(?P<uncertain>rule{S}+out|r/o|differential(?:{S}+diagnos[ei]s)?|ddx|possible|suspected))"
    rf"(?:{S}+(?:the|any|all|of|following|symptoms?|signs?|to|{S}){{0,8}})?{S}*:{S}*$",
    re.IGNORECASE,
)
BULLET = re.compile(rf"{S}*(?:[-*•·▪►●○+>]|\(?\d{{1,2}}[.)]|[a-z][.)]|\[{S}?\]){S}*")
ITEM = re.compile(r"[^:]{1,60}")  # a line of a list without bullets
COLON_END = re.compile(rf":{S}*$")


def lead_ins(note: NoteForm) -> Iterator[Cue]:
    """Yield cues that end a line, with the findings of the list below it.

    The list ends at a blank line, at a line that ends with a colon, and, of bullets, at the first
    line without one.
    """
    for number, (start, end) in enumerate(note.lines):
        found = LEAD_IN.search(note.text, start, end)
        if found is None or found.end() != end:
            continue
        label = "negation" if found["negation"] else "uncertain"
        heads: list[int] = []
        for first, last in _list_below(note, number):
            heads += note.within(first, last)
        heads = [i for i in heads if note.entities[i].label != "test"]
        yield Cue(label, *found.span(label), heads)


def _list_below(note: NoteForm, number: int) -> Iterator[tuple[int, int]]:
    bulleted: bool | None = None
    below = note.lines[number + 1 :]
    for first, last in below:
        line = note.text[first:last]
        if not line.strip():
            if bulleted is None and (first, last) == below[0]:
                continue
            return
        marked = BULLET.match(line) is not None and bool(BULLET.match(line).group().strip())  # type: ignore[union-attr]
        bulleted = marked if bulleted is None else bulleted
        if COLON_END.search(line) or marked != bulleted or not (marked or ITEM.fullmatch(line)):
            return
        yield first, last


# --- another person: family history, and "her mother had ..." -------------------------------------

KIN = (
    r"(?:grand(?:mother|father|parents?|son|daughter|ma|pa)|mother|father|mom|mum|dad|parents?|"
    r"sisters?|brothers?|siblings?|half[- ](?:sister|brother|sibling)s?|toddler|in-laws?|kin|family|boyfriend|girlfriend|classmate|sons?|daughters?|children|"
    r"aunts?|uncles?|cousins?|nephews?|nieces?|wife|husband|spouse|partner|relatives?|"
    r"MGM|MGF|PGM|PGF|FOB|mo|fa|bro|sis|dtr|family{s}members?|twin|roommate|coworkers?)"
)
SIDE = rf"(?:(?:both|foster|adoptive|maternal|paternal|mat\.|pat\.|older|younger|half|birth|biological|great|step|" \
       rf"first[- ]degree|two|three|one|twin|late|identical){S}+){{0,3}}"  # fmt: skip
RELATIVE = re.compile(
    rf"(?<![\w'])(?P<cue>{SIDE}{KIN.replace('{s}', S + '+')}(?:{S}+and{S}+{SIDE}"
    rf"{KIN.replace('{s}', S + '+')})?)(?![\w])",
    re.IGNORECASE,
)
AFFLICTED = re.compile(
    rf"(?:'s{S}+\w+)?{S}*[,:]?{S}*(?:(?:also|who|herself|himself|recently|\(\d+\)|both|is|was|been|said|to|may|"
    rf"have|has|had|a|in{S}+the{S}+family){S}+){{0,5}}(?:has|had|have|with|w/|died{S}+(?:of|"
    rf"from|with)|diagnosed{S}+with|suffers?{S}+from|affected{S}+(?:by|with)|having|developed|"
    rf"treated{S}+for|recovery{S}+from)(?!\w)",
    re.IGNORECASE,
)
AFFLICTED_LEAD = re.compile(
    rf"{S}*(?:(?:been{S}+diagnosed{S}+with|no|a{S}+history{S}+of|also|{FILLER}){S}+){{0,4}}",
    re.IGNORECASE,
)
KIN_LEAD = re.compile(rf"{S}*(?:[-–—:(]{S}*)?(?:(?:died|also|{FILLER}){S}+){{0,3}}", re.IGNORECASE)
TALKED_TO = re.compile(
    r"\b(?:updated?|asks?|asked|bedside|aware|notified|informed|discussed|meeting|visit\w*|worried|"
    r"concern\w*|agree\w*|wish\w*|prefer\w*|supportive)\b",
    re.IGNORECASE,
)
HISTORIAN = re.compile(
    rf"\b(?:says|states?|stated|reports?|reported|notes|feels|thinks|told){S}+(?:us{S}+)?"
    rf"(?:that{S}+)?(?:his|her|their){S}+$",
    re.IGNORECASE,
)
LINE_END = re.compile(r"\n|[.:](?=,\S)")
HIMSELF = re.compile(
    rf"(?<!\w)(?:patient|pt|herself|himself|she|he|child|baby|infant|i|states|says|reports|denies|"
    rf"reported|denied|noticed|noted|thinks|found|saw)(?!\w)|{CLAUSE}",
    re.IGNORECASE,
)
FAMILY = re.compile(
    rf"(?<![\w])(?P<cue>(?:family|fam\.?|fhx?|familial){S}*(?:medical{S}+)?(?:history|hx)?)"
    rf"(?P<of>{S}+(?:is{S}+|was{S}+)?(?:of|positive{S}+for|significant{S}+for|notable{S}+for|"
    rf"negative{S}+for)|{S}*[:–—-])(?!\w)",
    re.IGNORECASE,
)
FAMILY_TITLE = re.compile(
    rf"\W{{0,6}}(?P<cue>family(?:{S}+medical)?{S}+(?:history|hx)|fam\.?{S}+(?:history|hx)|fhx?)"
    rf"{S}*:?{S}*",
    re.IGNORECASE,
)
FAMILY_SECTION = re.compile(r"\bfamily\b|^f/?hx?\b|^fam\b")
CLAUSE_END = re.compile(CLAUSE)
BEHIND_KIN = re.compile(rf"{S}*(?:[-–—:(,]|in|for|on)?{S}*(?:in{S}+)?(?:(?:his|her|the|a){S}+)?$")


def relatives(note: NoteForm) -> Iterator[Cue]:
    """Yield relatives with the findings that they have, in running text and family histories."""
    yield from _family_sections(note)
    for found in FAMILY.finditer(note.text):
        whole_line = not found["of"].strip()[-1:].isalpha()
        end = note.until(LINE_END if whole_line else CLAUSE_END, found.end())
        if whole_line and TALKED_TO.search(note.text, found.end(), end):
            continue
        if not whole_line:
            heads = _listed(note, note.within(found.end(), end))
            end = note.entities[heads[-1]].end if heads else end
        yield from _clauses(note, found.end(), end, found.span("cue"))
    for number, (start, end) in enumerate(note.lines):
        title = FAMILY_TITLE.fullmatch(note.text, start, end)
        for first, last in _list_below(note, number) if title else ():
            yield from _clauses(note, first, last, title.span("cue"))  # type: ignore[union-attr]
    for found in RELATIVE.finditer(note.text):
        if HISTORIAN.search(note.text, max(0, found.start() - 40), found.start()):
            continue
        afflicted = AFFLICTED.match(note.text, found.end())
        start = afflicted.end() if afflicted else found.end()
        heads = note.within(start, min(note.until(HIMSELF, start), note.until(RELATIVE, start)))
        if not heads:
            continue
        lead = note.text[start : note.entities[heads[0]].start]
        if (AFFLICTED_LEAD if afflicted else KIN_LEAD).fullmatch(lead):
            yield Cue("subject", *found.span("cue"), _listed(note, heads))


def _listed(note: NoteForm, heads: Sequence[int]) -> list[int]:
    """Return the first of the heads and those that are listed after it."""
    listed = set(note.coordinated_after(heads[0], lists=True)) if heads else set()
    return [i for i in heads if i in listed]


def _family_sections(note: NoteForm) -> Iterator[Cue]:
    """Yield, in sections of family history, the relative of each finding, else the heading.

    A blank line below the section's text ends it, as a label of something else does for its line.
    """
    heading: tuple[int, int] | None = None
    section, inside, last = "", False, 0
    for sentence in note.sentences:
        start, end = sentence.span.start, sentence.span.end
        if sentence.section != section:
            section = sentence.section
            inside = FAMILY_SECTION.search(section) is not None
            found = HEADING_WORDS.match(note.text, start, end) if inside else None
            heading = found.span("cue") if found else None
        elif inside and last and BLANK_LINE.search(note.text, last, start):
            inside = False
        if not inside:
            continue
        if not (heading and not note.text[heading[1] : end].strip(" :-=_*#")):
            last = end
        if heading and heading[0] >= start or not OTHER_LABEL.match(note.text, start, end):
            yield from _clauses(note, start, end, heading)


BLANK_LINE = re.compile(r"\n[ \t]*\n")
OTHER_LABEL = re.compile(rf"(?!{SIDE}{KIN.replace('{s}', S + '+')}\b)[A-Z][A-Za-z /]{{2,30}}:")
HEADING_WORDS = re.compile(
    rf"(?:\W{{0,6}}(?:\d{{1,2}}[.)])?{S}*)(?P<cue>(?:(?:past|social|medical|and|&|/){S}*){{0,4}}"
    rf"(?:family|fam\.?|f/?hx?\b)(?:{S}+(?:medical|health|social|and))*(?:{S}*(?:history|hx))?)",
    re.IGNORECASE,
)


def _clauses(
    note: NoteForm, start: int, end: int, heading: tuple[int, int] | None
) -> Iterator[Cue]:
    """Yield the subject of every finding of a family history: the relative of its clause."""
    edges = [found.end() for found in CLAUSE_END.finditer(note.text, start, end)]
    for edge in [*edges, end]:
        kin = list(RELATIVE.finditer(note.text, start, edge))
        if PATIENT_FIRST.match(note.text, start):
            return
        for i in note.within(start, edge):
            cue = _kin_of(note, note.entities[i], kin) or heading
            if cue:
                yield Cue("subject", *cue, [i])
        start = edge


PATIENT_FIRST = re.compile(r"\s*(?:the\s+)?(?:patient|pt|he|she|i)\b", re.IGNORECASE)


def _kin_of(
    note: NoteForm, entity: Entity, kin: Sequence[re.Match[str]]
) -> tuple[int, int] | None:
    """Return the relative before a finding, or behind it: "Diabetes - mother"."""
    at = bisect_right(kin, entity.start, key=lambda one: one.end())
    before = kin[max(0, at - 1) : at]
    after = [one for one in kin[at : at + 2] if one.start() >= entity.end][:1]
    closed = [one for one in before if ")" in note.text[one.end() : entity.start]]
    if after and (closed or not before):
        return after[0].span("cue")
    return before[0].span("cue") if before else None


FORMS: tuple[Form, ...] = (boxes, columns, answers, behind, in_front, alternatives, lead_ins, relatives)
