"""What an entity's modifiers say of it: denied, doubtful, another person's."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from spanlake.core.spans import Annotation, Entity


@dataclass(frozen=True, slots=True)
class Assertion:
    """The columns `negated`, `uncertain` and `subject` of an entity."""

    negated: bool
    uncertain: bool
    subject: str | None


def assertions(annotation: Annotation) -> list[Assertion]:
    """Return the assertion of every entity, in the annotation's order."""
    tails: dict[int, list[Entity]] = defaultdict(list)
    for relation in annotation.relations:
        tails[relation.head].append(annotation.entities[relation.tail])
    return [_assertion(tails[i]) for i in range(len(annotation.entities))]


def _assertion(tails: list[Entity]) -> Assertion:
    return Assertion(
        negated=any(tail.label == "negation" for tail in tails),
        uncertain=any(tail.label == "uncertain" for tail in tails),
        subject=next((tail.text for tail in tails if tail.label == "subject"), None),
    )
