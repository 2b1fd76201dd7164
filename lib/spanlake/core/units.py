"""Notes, the units that a model reads, and its answers: how a note is taken apart and put back.

The same code serves the Spark job, the SQL function and the command line, so all give one answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from spanlake.core.errors import DataError
from spanlake.core.spans import Annotation, Entity, Relation, Span, check_offsets

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
