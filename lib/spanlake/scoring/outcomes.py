"""A model's probabilities for annotated notes, beside what came true."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from spanlake.core.labels import LAYERS, LabelSet
from spanlake.core.types import Annotation
from spanlake.scoring.reliability import Outcomes
from spanlake.scoring.score_extractor import ScoredNote
from spanlake.text.sentences import split

Key = tuple[int, int, str]  # of an entity
Link = tuple[Key, Key, str]
Rows = Iterable[tuple[str, float, bool]]  # kind, probability, whether it came true


def score_outcomes(notes: Sequence[ScoredNote], labels: LabelSet) -> dict[str, Outcomes]:
    """Return each kind of probability with whether it came true; nothing where none was told.

    `main spans` and `modifier spans`: label and both offsets are right. `relations`: it and both
    its spans are, of a model that tells how sure it is of a whole answer: others score the link
    alone. `sentences`: the answer has nothing wrong and misses nothing.
    """
    kinds = (*(f"{layer} spans" for layer in LAYERS), "relations", "sentences")
    rows = [row for note in notes for part in (_spans(note, labels), _links(note), _sentences(note))
            for row in part]  # fmt: skip
    by_kind = {
        kind: [(probability, right) for name, probability, right in rows if name == kind]
        for kind in kinds
    }
    return {
        kind: (
            np.array([probability for probability, _ in pairs]),
            np.array([right for _, right in pairs]),
        )
        for kind, pairs in by_kind.items()
        if pairs
    }


def _spans(note: ScoredNote, labels: LabelSet) -> Rows:
    gold = {entity.key for entity in note.gold.annotation.entities}
    for entity in note.predicted.entities:
        if entity.score is not None:
            yield f"{labels.layer_of(entity.label)} spans", entity.score, entity.key in gold


def _links(note: ScoredNote) -> Rows:
    if all(confidence is None for confidence in note.confidences):
        return
    gold = set(_linked(note.gold.annotation))
    for relation, link in zip(note.predicted.relations, _linked(note.predicted), strict=True):
        if relation.score is not None:
            yield "relations", relation.score, link in gold


def _sentences(note: ScoredNote) -> Rows:
    """Judge each sentence by all that starts in it: what it cuts off is missed."""
    if not note.confidences:
        return
    starts = [sentence.span.start for sentence in split(note.gold.note.note_text)]
    alone = note.predicted.without_rules()  # what the confidence is of
    predicted, true = (_by_sentence(answer, starts) for answer in (alone, note.gold.annotation))
    for confidence, predicted_keys, gold in zip(note.confidences, predicted, true, strict=True):
        if confidence is not None:
            yield "sentences", confidence, predicted_keys == gold


def _linked(answer: Annotation) -> Iterator[Link]:
    keys = [entity.key for entity in answer.entities]
    return (
        (keys[relation.head], keys[relation.tail], relation.label) for relation in answer.relations
    )


def _by_sentence(answer: Annotation, starts: Sequence[int]) -> list[set[object]]:
    by_sentence: list[set[object]] = [set() for _ in starts]
    for key in (entity.key for entity in answer.entities):
        by_sentence[_sentence(key, starts)].add(key)
    for link in _linked(answer):
        by_sentence[_sentence(link[0], starts)].add(link)
    return by_sentence


def _sentence(key: Key, starts: Sequence[int]) -> int:
    return max(0, int(np.searchsorted(starts, key[0], side="right")) - 1)
