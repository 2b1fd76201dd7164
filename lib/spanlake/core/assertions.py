"""What an entity's modifiers say of it: denied, doubtful, another person's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Relation

ASSERTION_LABELS = ("negation", "uncertain", "subject")  # of the modifiers that the columns are of
REJECTED = 0.5  # share of a threshold below which a relation is rejected; between them: undecided
PATIENT = "patient"


@dataclass(frozen=True, slots=True)
class Assertion:
    """The columns `negated`, `uncertain` and `subject` of an entity.

    None where it is not known: a model has neither accepted nor rejected the relation to a cue, or
    the label set has no such pair. `subject` is "patient", or the text of the cue that names
    another person.
    """

    negated: bool | None
    uncertain: bool | None
    subject: str | None


def assertions(
    annotation: Annotation, labels: LabelSet, undecided: Iterable[Relation] = ()
) -> list[Assertion]:
    """Return the assertion of every entity, in the annotation's order.

    `undecided` relations are among the annotation's entities and not among its relations.
    """
    decided, doubtful = _cues(annotation, annotation.relations), _cues(annotation, undecided)

    def known(i: int, label: str) -> bool | None:
        if label in decided[i]:
            return True
        possible = labels.allows(annotation.entities[i].label, label)
        return None if label in doubtful[i] or not possible else False

    entity_assertions = []
    for i in range(len(annotation.entities)):
        negated, uncertain, concerned = (known(i, label) for label in ASSERTION_LABELS)
        subject = decided[i].get("subject") or (PATIENT if concerned is False else None)
        entity_assertions.append(Assertion(negated, uncertain, subject))
    return entity_assertions


def _cues(annotation: Annotation, relations: Iterable[Relation]) -> dict[int, dict[str, str]]:
    """Return by head the text of its first cue of each label."""
    cues: dict[int, dict[str, str]] = defaultdict(dict)
    for relation in relations:
        tail = annotation.entities[relation.tail]
        cues[relation.head].setdefault(tail.label, tail.text)
    return cues
