"""How predictions differ from gold, difference by difference: what a score does not say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from spanlake.core.labels import LAYERS, LabelSet, Layer
from spanlake.core.types import Annotation, Entity
from spanlake.scoring.matching import overlapping_pairs

Kind = Literal["lost", "spurious", "label", "boundary", "both"]
PAIRED: tuple[Kind, ...] = ("label", "boundary", "both")  # in the order in which pairs are formed


@dataclass(frozen=True, slots=True)
class Mistake:
    """A gold entity that was not predicted as it is, a prediction that is not gold, or both.

    `lost`: gold without a counterpart; `spurious`: a prediction without one. Otherwise the two
    overlap: `label` has the same offsets, `boundary` the same label, `both` neither.
    """

    layer: Layer
    kind: Kind
    gold: Entity | None
    predicted: Entity | None

    @property
    def entity(self) -> Entity:
        """The gold entity, or the prediction where there is none."""
        entity = self.gold or self.predicted
        assert entity is not None
        return entity


def mistakes(gold: Annotation, predicted: Annotation, labels: LabelSet) -> list[Mistake]:
    """Return every difference between two annotations of one text, by layer and place.

    Entities that are equal in offsets and label are set aside. The rest are paired one to one
    within their layer: same offsets first, then same label, then other overlaps; of these the
    larger overlap first. So the mistakes with gold are as many as strict `fn`, those with a
    prediction as many as strict `fp`; a second gold entity under one prediction is `lost`.
    """
    return [
        mistake
        for layer in LAYERS
        for mistake in _of_layer(layer, gold.entities, predicted.entities, labels.labels_of(layer))
    ]


def _of_layer(
    layer: Layer, gold: Iterable[Entity], predicted: Iterable[Entity], names: Collection[str]
) -> list[Mistake]:
    gold_by_key, predicted_by_key = _by_key(gold, names), _by_key(predicted, names)
    missed = [gold_by_key[key] for key in sorted(gold_by_key.keys() - predicted_by_key.keys())]
    wrong = [predicted_by_key[key] for key in sorted(predicted_by_key.keys() - gold_by_key.keys())]
    pairs = dict(_pairs(missed, wrong))
    layer_mistakes = [
        Mistake(layer, _kind(missed[i], wrong[j]), missed[i], wrong[j]) for i, j in pairs.items()
    ]
    layer_mistakes += [
        Mistake(layer, "lost", e, None) for i, e in enumerate(missed) if i not in pairs
    ]
    paired = set(pairs.values())
    layer_mistakes += [
        Mistake(layer, "spurious", None, e) for j, e in enumerate(wrong) if j not in paired
    ]
    return sorted(layer_mistakes, key=lambda mistake: (mistake.entity.key, mistake.kind))


def _by_key(
    entities: Iterable[Entity], names: Collection[str]
) -> dict[tuple[int, int, str], Entity]:
    return {entity.key: entity for entity in entities if entity.label in names}


def _pairs(missed: Sequence[Entity], wrong: Sequence[Entity]) -> Iterator[tuple[int, int]]:
    """Yield positions in the two, each position once."""
    free, unused = set(range(len(missed))), set(range(len(wrong)))
    overlaps = overlapping_pairs([e.span for e in missed], [e.span for e in wrong])
    for i, j in sorted(overlaps, key=lambda pair: _rank(missed[pair[0]], wrong[pair[1]], pair)):
        if i in free and j in unused:
            free.remove(i)
            unused.remove(j)
            yield i, j


def _rank(gold: Entity, predicted: Entity, pair: tuple[int, int]) -> tuple[int, int, int, int]:
    shared = min(gold.end, predicted.end) - max(gold.start, predicted.start)
    return PAIRED.index(_kind(gold, predicted)), -shared, *pair


def _kind(gold: Entity, predicted: Entity) -> Kind:
    if gold.span == predicted.span:
        return "label"
    return "boundary" if gold.label == predicted.label else "both"
