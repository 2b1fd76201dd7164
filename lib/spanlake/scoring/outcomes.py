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
    rows = [row for one in notes for part in (_spans(one, labels), _links(one), _sentences(one))
            for row in part]  # fmt: skip
    told = {kind: [(sure, right) for name, sure, right in rows if name == kind] for kind in kinds}
    return {
        kind: (np.array([sure for sure, _ in pairs]), np.array([right for _, right in pairs]))
        for kind, pairs in told.items()
        if pairs
    }


def _spans(one: ScoredNote, labels: LabelSet) -> Rows:
    gold = {entity.key for entity in one.gold.annotation.entities}
    for entity in one.predicted.entities:
        if entity.score is not None:
            yield f"{labels.layer_of(entity.label)} spans", entity.score, entity.key in gold


def _links(one: ScoredNote) -> Rows:
    if all(sure is None for sure in one.confidences):
        return
    gold = set(_linked(one.gold.annotation))
    for relation, link in zip(one.predicted.relations, _linked(one.predicted), strict=True):
        if relation.score is not None:
            yield "relations", relation.score, link in gold


def _sentences(one: ScoredNote) -> Rows:
    """Judge each sentence by all that starts in it: what it cuts off is missed."""
    if not one.confidences:
        return
    starts = [sentence.span.start for sentence in split(one.gold.note.note_text)]
    alone = one.predicted.without_rules()  # what the confidence is of
    said, true = (_by_sentence(answer, starts) for answer in (alone, one.gold.annotation))
    for sure, mine, gold in zip(one.confidences, said, true, strict=True):
        if sure is not None:
            yield "sentences", sure, mine == gold


def _linked(answer: Annotation) -> Iterator[Link]:
    keys = [entity.key for entity in answer.entities]
    return ((keys[one.head], keys[one.tail], one.label) for one in answer.relations)


def _by_sentence(answer: Annotation, starts: Sequence[int]) -> list[set[object]]:
    found: list[set[object]] = [set() for _ in starts]
    for key in (entity.key for entity in answer.entities):
        found[_sentence(key, starts)].add(key)
    for link in _linked(answer):
        found[_sentence(link[0], starts)].add(link)
    return found


def _sentence(key: Key, starts: Sequence[int]) -> int:
    return max(0, int(np.searchsorted(starts, key[0], side="right")) - 1)
