"""Scores of predicted against gold entities and relations, note by note or pooled.

The score over notes is the sum of the scores of each note, in any order, whatever the grouping.
Within a note the same entity (start, end, label) or relation (head, tail, label) given twice
counts once, on either side. Discontinuous gold entities are scored by their covering span.
Labels are compared as given: readers normalise them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set

from spanlake.core.bio import WORD
from spanlake.core.labels import LAYERS, LabelSet, Layer
from spanlake.core.types import Annotation, Entity, Span
from spanlake.errors import DataError
from spanlake.scoring.counts import LENGTHS, Counts, EntityCounts, LayerScores, ManyCounts, Scores
from spanlake.scoring.matching import matching_size, overlapping_pairs

RelationKey = tuple[Span, str, Span, str, str]  # head span, its label, tail span, its label, label


def score_notes(pairs: Iterable[tuple[Annotation, Annotation]], labels: LabelSet) -> Scores:
    """Return the pooled scores of (gold, predicted) notes.

    Raises ConfigError for an entity label that the label set lacks, on either side.
    """
    scores = (score_note(gold, predicted, labels) for gold, predicted in pairs)
    return sum(scores, no_scores(labels))


def no_scores(labels: LabelSet) -> Scores:
    """Return the scores of no note at all, to start a sum from."""
    main, modifier = (
        LayerScores(dict.fromkeys(labels.labels_of(layer), EntityCounts())) for layer in LAYERS
    )
    return Scores(0, main, modifier)


def score_note(gold: Annotation, predicted: Annotation, labels: LabelSet) -> Scores:
    """Return one note's scores; raises as `score_notes` does."""
    gold_spans = _spans_by_label(gold.entities, labels)
    predicted_spans = _spans_by_label(predicted.entities, labels)

    def layer_scores(layer: Layer) -> LayerScores:
        names = labels.labels_of(layer)
        return LayerScores(
            {n: _score_label(gold_spans[n], predicted_spans[n]) for n in names},
            _score_lengths(gold.entities, predicted.entities, names),
        )

    gold_relations, predicted_relations = _relation_keys(gold), _relation_keys(predicted)
    return Scores(
        1,
        layer_scores("main"),
        layer_scores("modifier"),
        relations_strict=_counts_strict(gold_relations, predicted_relations),
        relations_relaxed=_counts_relaxed_relations(gold_relations, predicted_relations),
    )


def score_linked(pairs: Iterable[tuple[Annotation, Annotation]]) -> Counts:
    """Return the pooled counts of relations predicted between gold entities.

    Pairs are (gold, linked). The linked annotation's entities are gold ones; it may lack some
    that the model was not shown, whose relations are then missed. Raises DataError when it holds
    others. The result goes into ``dataclasses.replace(scores, gold_entities=...)``.
    """
    return sum((_score_linked_note(gold, linked) for gold, linked in pairs), Counts())


def _score_linked_note(gold: Annotation, linked: Annotation) -> Counts:
    strangers = {e.key for e in linked.entities} - {e.key for e in gold.entities}
    if strangers:
        raise DataError(f"{len(strangers)} of the linked entities are not among the gold entities")
    return _counts_strict(_relation_keys(gold), _relation_keys(linked))


def _score_label(gold: set[Span], predicted: set[Span]) -> EntityCounts:
    pairs = overlapping_pairs(list(gold), list(predicted))
    matched_gold, matched_predicted = {i for i, _ in pairs}, {j for _, j in pairs}
    return EntityCounts(
        strict=_counts_strict(gold, predicted),
        relaxed=_counts(matching_size(pairs), gold, predicted),
        relaxed_many=ManyCounts(
            len(matched_predicted), len(matched_gold), len(predicted), len(gold)
        ),
    )


def _score_lengths(
    gold: Iterable[Entity], predicted: Iterable[Entity], names: Collection[str]
) -> dict[str, Counts]:
    gold_keys, predicted_keys = _keys_by_length(gold, names), _keys_by_length(predicted, names)
    return {length: _counts_strict(gold_keys[length], predicted_keys[length]) for length in LENGTHS}


def _keys_by_length(entities: Iterable[Entity], names: Collection[str]) -> dict[str, set[object]]:
    keys: dict[str, set[object]] = {length: set() for length in LENGTHS}
    for entity in entities:
        if entity.label in names:
            words = len(WORD.findall(entity.text))
            keys[LENGTHS[max(1, min(words, len(LENGTHS))) - 1]].add((entity.span, entity.label))
    return keys


def _counts_relaxed_relations(gold: set[RelationKey], predicted: set[RelationKey]) -> Counts:
    gold_kinds, predicted_kinds = _by_kind(gold), _by_kind(predicted)
    matched = 0
    for kind in gold_kinds.keys() & predicted_kinds.keys():
        gold_pairs, predicted_pairs = gold_kinds[kind], predicted_kinds[kind]
        heads = overlapping_pairs(
            [head for head, _ in gold_pairs], [head for head, _ in predicted_pairs]
        )
        matched += matching_size(
            (i, j) for i, j in heads if gold_pairs[i][1].overlaps(predicted_pairs[j][1])
        )
    return _counts(matched, gold, predicted)


def _counts_strict(gold: Set[object], predicted: Set[object]) -> Counts:
    return _counts(len(gold & predicted), gold, predicted)


def _counts(matched: int, gold: Collection[object], predicted: Collection[object]) -> Counts:
    return Counts(matched, len(predicted) - matched, len(gold) - matched)


def _spans_by_label(entities: Iterable[Entity], labels: LabelSet) -> Mapping[str, set[Span]]:
    spans: dict[str, set[Span]] = defaultdict(set)
    for entity in entities:
        labels.layer_of(entity.label)  # a label that no layer holds would vanish from the score
        spans[entity.label].add(entity.span)
    return spans


def _relation_keys(note: Annotation) -> set[RelationKey]:
    ends = ((note.entities[r.head], note.entities[r.tail], r.label) for r in note.relations)
    return {(head.span, head.label, tail.span, tail.label, label) for head, tail, label in ends}


def _by_kind(
    relations: Iterable[RelationKey],
) -> dict[tuple[str, str, str], list[tuple[Span, Span]]]:
    kinds: dict[tuple[str, str, str], list[tuple[Span, Span]]] = defaultdict(list)
    for head, head_label, tail, tail_label, label in relations:
        kinds[head_label, tail_label, label].append((head, tail))
    return kinds
