"""Scores of the columns that are made of modifiers: `negated`, `uncertain` and `subject`.

A query for affirmed problems sees these, not the modifiers and relations that they are made of.
"""

from __future__ import annotations

from collections.abc import Iterable

from spanlake.core.assertions import assertions
from spanlake.core.counts import Counts
from spanlake.core.spans import Annotation, Span
from spanlake.models.scoring import ScoredNote

COLUMNS = ("negated", "uncertain", "subject")  # of `core.assertions.Assertion`


def assertion_counts(notes: Iterable[ScoredNote]) -> dict[str, Counts]:
    """Return by column the counts of entities that it holds for, in gold and as predicted.

    Strict: label, both offsets and the column must be right. `subject` holds where one is given,
    whatever its words. Without columns that hold for no entity of either side.
    """
    kept, found = list(notes), {}
    for column in COLUMNS:
        counts = sum((_counts(one, column) for one in kept), Counts())
        if counts.f1 is not None:
            found[column] = counts
    return found


def _counts(note: ScoredNote, column: str) -> Counts:
    gold, predicted = _held(note.gold.annotation, column), _held(note.predicted, column)
    return Counts(len(gold & predicted), len(predicted - gold), len(gold - predicted))


def _held(annotation: Annotation, column: str) -> set[tuple[Span, str]]:
    pairs = zip(annotation.entities, assertions(annotation), strict=True)
    return {(one.span, one.label) for one, said in pairs if getattr(said, column)}
