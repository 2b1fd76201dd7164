"""Integer counts of matched and unmatched items that add up; ratios are taken last.

Undefined ratios are None: precision when nothing is predicted, recall when nothing is gold, f1
when neither is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spanlake.errors import DataError

LENGTHS = ("1", "2", "3+")  # words in an entity


@dataclass(frozen=True, slots=True)
class Counts:
    """Matched one to one (`tp`), predicted only (`fp`) and gold only (`fn`)."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def support(self) -> int:
        """Number of gold items."""
        return self.tp + self.fn


@dataclass(frozen=True, slots=True)
class ManyCounts:
    """Counts of the many-to-one variant, where one item may match several of the other side.

    The matches of the two sides then differ in number, so each keeps its own. `tp`, `fp` and
    `fn` are given as those of gold (`tp`, `fn`) and of the predictions (`fp`): precision is
    *not* ``tp / (tp + fp)`` here, and f1 is the harmonic mean of precision and recall.
    """

    matched_predicted: int = 0
    matched_gold: int = 0
    predicted: int = 0
    gold: int = 0

    def __add__(self, other: ManyCounts) -> ManyCounts:
        return ManyCounts(
            self.matched_predicted + other.matched_predicted,
            self.matched_gold + other.matched_gold,
            self.predicted + other.predicted,
            self.gold + other.gold,
        )

    @property
    def tp(self) -> int:
        return self.matched_gold

    @property
    def fp(self) -> int:
        return self.predicted - self.matched_predicted

    @property
    def fn(self) -> int:
        return self.gold - self.matched_gold

    @property
    def precision(self) -> float | None:
        return _ratio(self.matched_predicted, self.predicted)

    @property
    def recall(self) -> float | None:
        return _ratio(self.matched_gold, self.gold)

    @property
    def f1(self) -> float | None:
        if not self.matched_gold:  # then no prediction is matched either
            return _ratio(0, self.predicted + self.gold)
        precision = self.matched_predicted / self.predicted
        recall = self.matched_gold / self.gold
        return 2 * precision * recall / (precision + recall)

    @property
    def support(self) -> int:
        """Number of gold items."""
        return self.gold


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """Entities counted three ways; the label is always the same.

    `strict`: both offsets equal. `relaxed`: the spans share a character, one to one, by the
    largest matching, so never below strict. `relaxed_many`: the same overlap, many to one.
    """

    strict: Counts = Counts()
    relaxed: Counts = Counts()
    relaxed_many: ManyCounts = ManyCounts()

    def __add__(self, other: EntityCounts) -> EntityCounts:
        return EntityCounts(
            self.strict + other.strict,
            self.relaxed + other.relaxed,
            self.relaxed_many + other.relaxed_many,
        )


@dataclass(frozen=True, slots=True)
class LayerScores:
    """Counts of every label of a layer, those that never occur included.

    `lengths` holds the strict counts of all labels by the entity's number of words.
    """

    labels: Mapping[str, EntityCounts]
    lengths: Mapping[str, Counts] = field(default_factory=lambda: dict.fromkeys(LENGTHS, Counts()))

    def __add__(self, other: LayerScores) -> LayerScores:
        if self.labels.keys() != other.labels.keys():
            raise DataError("scores of different label sets cannot be added")
        return LayerScores(
            {name: counts + other.labels[name] for name, counts in self.labels.items()},
            {name: counts + other.lengths[name] for name, counts in self.lengths.items()},
        )

    @property
    def micro(self) -> EntityCounts:
        """Counts of all labels together."""
        return sum(self.labels.values(), EntityCounts())


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of `notes` notes; keep one a note where notes are to be resampled.

    Relations: `relations_strict` asks for both spans, both entity labels and the relation label;
    `relations_relaxed` for both ends to overlap under those labels, one to one. `gold_entities`
    holds relations predicted between gold entities (`score_linked`), None where none were asked.
    """

    notes: int
    entities: LayerScores
    modifiers: LayerScores
    relations_strict: Counts = Counts()
    relations_relaxed: Counts = Counts()
    gold_entities: Counts | None = None

    def __add__(self, other: Scores) -> Scores:
        """Pool two scores; raises DataError when only one has relations on gold entities."""
        return Scores(
            self.notes + other.notes,
            self.entities + other.entities,
            self.modifiers + other.modifiers,
            self.relations_strict + other.relations_strict,
            self.relations_relaxed + other.relations_relaxed,
            _add_gold_entities(self, other),
        )


def _add_gold_entities(scores: Scores, other: Scores) -> Counts | None:
    if scores.gold_entities is not None and other.gold_entities is not None:
        return scores.gold_entities + other.gold_entities
    if scores.notes and other.notes and scores.gold_entities != other.gold_entities:
        raise DataError("only one of two scores has relations on gold entities")
    return scores.gold_entities or other.gold_entities


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
