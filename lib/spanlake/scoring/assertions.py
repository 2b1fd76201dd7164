"""Scores of the columns that are made of modifiers: `negated`, `uncertain` and `subject`.

A query for affirmed problems sees these, not the modifiers and relations that they are made of.
"""

from __future__ import annotations

from collections.abc import Iterable

from spanlake.core.assertions import PATIENT, assertions
from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Span
from spanlake.scoring.counts import Counts
from spanlake.scoring.score_extractor import ScoredNote

COLUMNS = ("negated", "uncertain", "subject")  # of `core.assertions.Assertion`


def assertion_counts(
    notes: Iterable[ScoredNote], labels: LabelSet, *, among_found: bool = False
) -> dict[str, Counts]:
    """Return by column the counts of entities that it holds for, in gold and as predicted.

    Strict: label, both offsets and the column must be right; with `among_found` only of entities
    whose label and offsets are right, so that a missed entity costs nothing. `subject` holds where
    somebody else than the patient is named, whatever the words; a null holds for nothing. Without
    columns that hold for no entity of either side.
    """
    kept, by_column = list(notes), {}
    for column in COLUMNS:
        counts = sum((_counts(note, labels, column, among_found) for note in kept), Counts())
        if counts.f1 is not None:
            by_column[column] = counts
    return by_column


def _counts(note: ScoredNote, labels: LabelSet, column: str, among_found: bool) -> Counts:
    gold, predicted = (
        _held(annotation, labels, column) for annotation in (note.gold.annotation, note.predicted)
    )
    if among_found:
        both = _keys(note.gold.annotation) & _keys(note.predicted)
        gold, predicted = gold & both, predicted & both
    return Counts(len(gold & predicted), len(predicted - gold), len(gold - predicted))


def _keys(annotation: Annotation) -> set[tuple[Span, str]]:
    return {(entity.span, entity.label) for entity in annotation.entities}


def _held(annotation: Annotation, labels: LabelSet, column: str) -> set[tuple[Span, str]]:
    pairs = zip(annotation.entities, assertions(annotation, labels), strict=True)
    return {
        (entity.span, entity.label)
        for entity, assertion in pairs
        if getattr(assertion, column) not in (None, False, PATIENT)
    }
