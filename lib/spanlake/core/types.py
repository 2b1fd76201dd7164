"""The values that everything passes around: notes, sentences, units, spans, entities, relations.

Offsets are Unicode code points of the text as stored, 0-based and half-open:
``text[span.start:span.end]`` is the span's text. What a value's offsets refer to (a note or a
unit's target) is said by what holds it. The Spark job, the SQL function and the command line use
the same code to take a note apart and to put it back, so all give one answer.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from spanlake.errors import DataError, OffsetError

# White space at the edges of a line; a byte order mark is no word.
BLANK = "".join(c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()) + "\ufeff"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A non-empty half-open interval ``[start, end)``; raises DataError when it is none."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise DataError(f"not a span: start {self.start}, end {self.end}")

    def overlaps(self, other: Span) -> bool:
        """Tell whether the two share at least one character; touching is not overlapping."""
        return self.start < other.end and other.start < self.end

    def contains(self, other: Span) -> bool:
        """Tell whether `other` lies within this span (equal spans contain each other)."""
        return self.start <= other.start and other.end <= self.end

    def shift(self, by: int) -> Span:
        """Return the span moved by `by` code points."""
        return Span(self.start + by, self.end + by)


@dataclass(frozen=True, slots=True)
class Entity:
    """A labelled span with its text, exactly as it stands, and a score in [0, 1] (None: gold).

    `pieces` holds the parts of a discontinuous gold span, whose covering span is `span`.
    `attributes` are brat attributes as (name, value) pairs. `by_rule` marks a modifier that a rule
    of `core.assertion_rules` has added, which has no score.
    """

    span: Span
    label: str
    text: str
    score: float | None = None
    pieces: tuple[Span, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    by_rule: bool = False

    def __post_init__(self) -> None:
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise DataError(f"entity score {self.score} is outside [0, 1]")
        if len(self.text) != self.end - self.start:
            raise OffsetError(f"{len(self.text)} characters of text on {self.start}-{self.end}")

    @property
    def start(self) -> int:
        return self.span.start

    @property
    def end(self) -> int:
        return self.span.end

    @property
    def key(self) -> tuple[int, int, str]:
        """What makes two entities of one text the same: offsets and label."""
        return self.span.start, self.span.end, self.label

    def shift(self, by: int) -> Entity:
        """Return the entity moved by `by` code points."""
        pieces = tuple(piece.shift(by) for piece in self.pieces)
        return replace(self, span=self.span.shift(by), pieces=pieces)


def entity_at(text: str, start: int, end: int, label: str, score: float | None = None) -> Entity:
    """Return the entity ``text[start:end]``; raises DataError when the offsets leave the text."""
    if end > len(text):
        raise OffsetError(f"entity {start}-{end} lies outside a text of {len(text)} characters")
    return Entity(Span(start, end), label, text[start:end], score)


@dataclass(frozen=True, slots=True)
class Relation:
    """A directed relation between two entities, named by their positions in the same tuple.

    `by_rule` marks one that a rule of `core.assertion_rules` has added, which has no score.
    """

    head: int
    tail: int
    label: str
    score: float | None = None
    by_rule: bool = False


@dataclass(frozen=True, slots=True)
class Annotation:
    """Entities and relations of one text, by people or by a model; relations index `entities`."""

    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.entities)
        for relation in self.relations:
            if not (0 <= relation.head < count and 0 <= relation.tail < count):
                raise DataError(
                    f"relation {relation.head}->{relation.tail} names one of {count} entities"
                )

    def without_rules(self) -> Annotation:
        """Return what the model alone has found: no entity or relation that a rule has added."""
        kept = [i for i, entity in enumerate(self.entities) if not entity.by_rule]
        place = {old: new for new, old in enumerate(kept)}
        relations = tuple(
            replace(relation, head=place[relation.head], tail=place[relation.tail])
            for relation in self.relations
            if not relation.by_rule and relation.head in place and relation.tail in place
        )
        return Annotation(tuple(self.entities[i] for i in kept), relations)

    def check(self, text: str) -> Annotation:
        """Return self; raises OffsetError unless every entity's text is its slice of `text`."""
        check_offsets(self.entities, text)
        return self


def check_offsets(entities: Sequence[Entity], text: str) -> None:
    """Raise OffsetError unless every entity's text is ``text[start:end]`` (contract 1)."""
    wrong = [entity for entity in entities if text[entity.start : entity.end] != entity.text]
    if wrong:
        first = wrong[0]
        raise OffsetError(
            f"{len(wrong)} of {len(entities)} entities differ from the text at their offsets,"
            f" the first at {first.start}-{first.end} ({first.label})"
        )


Outcome = Literal["ok", "unreadable", "transient"]
SEPARATOR = "\x1f"  # ASCII unit separator: keeps ("ab", "c") and ("a", "bc") apart in a hash


@dataclass(frozen=True, slots=True)
class Note:
    """One clinical document, its text exactly as stored."""

    note_id: str
    note_text: str
    patient_id: str | None = None
    encounter_id: str | None = None
    note_type: str | None = None
    note_datetime: str | None = None

    @property
    def text_sha256(self) -> str:
        return sha256(self.note_text)


NOTE_COLUMNS = tuple(field.name for field in fields(Note))


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a note: note-absolute span, and the heading that it stands under."""

    span: Span
    section: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a model sees: a target text with what stands around it (all empty for plain sentences).

    Extractions of a unit have offsets relative to `target`.
    """

    target: str
    left: str = ""
    right: str = ""
    section: str = ""

    @property
    def unit_key(self) -> bytes:
        """The first 16 bytes of a SHA-256 of exactly what the model sees."""
        seen = SEPARATOR.join((self.left, self.target, self.right, self.section))
        return hashlib.sha256(seen.encode("utf-8", "surrogatepass")).digest()[:16]


@dataclass(frozen=True, slots=True)
class Extraction:
    """A model's answer to one unit: entities and relations, or why none could be had.

    `ok` and `unreadable` are permanent answers, `transient` ones are planned again.
    `chars_seen` counts the characters of the target that the model has really read. `confidence`
    is the probability that nothing in the answer is wrong and nothing is missing, None where the
    model cannot tell. `undecided` are relations to a negation, an uncertainty or a subject that the
    model neither accepts nor rejects: they are no rows, but leave the assertion columns null.
    `error_class` and `reason` never hold note text.
    """

    outcome: Outcome
    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()
    chars_seen: int = 0
    error_class: str | None = None
    reason: str | None = None
    confidence: float | None = None
    undecided: tuple[Relation, ...] = ()

    def __post_init__(self) -> None:
        # refuses relations to entities that are not there
        Annotation(self.entities, (*self.relations, *self.undecided))
        if self.outcome == "ok" and self.error_class:
            raise DataError("an extraction is either ok or has an error class")
        if self.outcome != "ok" and (self.entities or not self.error_class):
            raise DataError("a failed extraction has an error class and no entities")

    def check(self, unit: Unit) -> Extraction:
        """Return self; raises OffsetError unless each entity's text is its slice of the target."""
        check_offsets(self.entities, unit.target)
        return self


def failed(error: BaseException, *, transient: bool = False) -> Extraction:
    """Turn an exception into an answer that names its class and never its message."""
    outcome: Outcome = "transient" if transient else "unreadable"
    return Extraction(outcome, error_class=type(error).__name__)


def sha256(text: str) -> str:
    """Return the hex SHA-256 of a text's UTF-8 bytes, as Spark's ``sha2(text, 256)`` does."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def units_of(note_text: str, sentences: Sequence[Sentence], context: int = 0) -> list[Unit]:
    """Return one unit a sentence, in order, with the text of `context` sentences on each side."""
    spans = [sentence.span for sentence in sentences]
    units = []
    for i, span in enumerate(spans):
        first, last = spans[max(0, i - context)], spans[min(len(spans) - 1, i + context)]
        left, right = note_text[first.start : span.start], note_text[span.end : last.end]
        units.append(Unit(note_text[span.start : span.end], left, right))
    return units
