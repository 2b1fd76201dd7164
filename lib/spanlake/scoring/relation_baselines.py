"""Relations between gold entities by rule: what a model that links has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity, Relation, Unit
from spanlake.corpora import GoldNote
from spanlake.models.lexicon import Lexicon, load_lexicon
from spanlake.models.relation_rules import NearestHeadRule
from spanlake.predict import score_relations
from spanlake.scoring.counts import Counts
from spanlake.scoring.metrics import score_linked


@dataclass(frozen=True, slots=True)
class _Rule:
    linker: NearestHeadRule
    context: int = 0

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        both = zip(units, entities, strict=True)
        return [
            self.linker.score_relations(unit.target, unit_entities) for unit, unit_entities in both
        ]


def relation_baselines(gold: Sequence[GoldNote], labels: LabelSet) -> dict[str, Counts]:
    """Return the pooled counts of two rules on gold entities, sentence by sentence as a model's.

    `nearest head`: every modifier goes to the head next to it in words, of those that the label
    set allows. `nearest head, lists`: negations, subjects and doubts take a whole coordinated list,
    and values look back first (`models.relation_rules`, with the `kiwi` lexicon's words). Empty
    unless the label set has exactly one relation: the rules choose heads, not names.
    """
    if len(labels.relations) != 1:
        return {}
    return {
        name: _score(gold, NearestHeadRule(labels, words)) for name, words in _lexicons().items()
    }


def _lexicons() -> Mapping[str, Lexicon]:
    kiwi = load_lexicon("kiwi")
    rules: dict[str, list[str]] = {"spread": [], "look_back": [], "breaks": [], "soft_breaks": []}
    return {"nearest head": kiwi.model_copy(update=rules), "nearest head, lists": kiwi}


def _score(gold: Iterable[GoldNote], linker: NearestHeadRule) -> Counts:
    rule = _Rule(linker)
    return score_linked(
        (gold_note.annotation, score_relations(gold_note.note, gold_note.annotation, rule))
        for gold_note in gold
    )
