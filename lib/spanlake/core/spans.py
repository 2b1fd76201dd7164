"""Spans, entities and relations: the values that everything else passes around.

Offsets are Unicode code points of the text as stored, 0-based and half-open:
``text[span.start:span.end]`` is the span's text. What a value's offsets refer to (a note or a
unit's target) is said by what holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spanlake.core.errors import DataError, OffsetError


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
