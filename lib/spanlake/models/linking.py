"""Relations between given entities: a classifier over texts with the two mentions marked."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from spanlake.core.assertions import ASSERTION_LABELS, REJECTED
from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity, Relation, Span
from spanlake.errors import ModelError
from spanlake.models.decoding import SCORE_DIGITS
from spanlake.models.network import Network
from spanlake.models.pairs import candidates, pair_ids
from spanlake.models.stats import Stats


class PairClassifier:
    """Scores the pairs that the label set allows; a pair's score is independent of other pairs."""

    def __init__(
        self,
        network: Network,
        labels: LabelSet,
        *,
        label_map: Mapping[str, str],
        most_words: int,
        threshold: float,
    ) -> None:
        self.network = network
        self.labels = labels
        self.most_words = most_words
        self.threshold = threshold
        names = [label_map.get(name, name) for name in network.class_names]
        self.classes = [(i, name) for i, name in enumerate(names) if name in labels.relations]
        if not self.classes:
            raise ModelError(
                f"no class of the relation model is a relation of {labels.name!r}; classes:"
                f" {', '.join(network.class_names)}; relations: {', '.join(labels.relations)};"
                " use extractor.label_map"
            )

    def read(
        self,
        texts: Sequence[str],
        words: Sequence[Sequence[Span]],
        entities: Sequence[Sequence[Entity]],
        *,
        budget: int,
        stats: Stats,
    ) -> list[tuple[list[Relation], list[Relation]]]:
        """Return each text's relations among its `entities`, and the undecided ones.

        Both are ordered by head and tail.
        """
        began = time.perf_counter()
        pairs: list[tuple[int, int, int]] = []
        sequences: list[list[int]] = []
        for i, (text, spans, text_entities) in enumerate(zip(texts, words, entities, strict=True)):
            for head, tail in candidates(spans, text_entities, self.labels, self.most_words):
                pairs.append((i, head, tail))
                pair = text_entities[head].span, text_entities[tail].span
                sequences.append(
                    pair_ids(text, spans, pair, self.network.pieces, self.network.limit)
                )
        stats.tokenize_seconds += time.perf_counter() - began
        probabilities = self.network.probabilities(sequences, budget=budget, stats=stats)
        relations: list[tuple[list[Relation], list[Relation]]] = [([], []) for _ in texts]
        for (i, head, tail), row in zip(pairs, probabilities, strict=True):
            relation = self._relation(head, tail, row)
            if (relation.score or 0.0) >= self.threshold:
                relations[i][0].append(relation)
            elif (
                entities[i][tail].label in ASSERTION_LABELS
                and (relation.score or 0.0) >= REJECTED * self.threshold
            ):
                relations[i][1].append(relation)
        return relations

    def _relation(self, head: int, tail: int, probabilities: np.ndarray) -> Relation:
        position, label = max(self.classes, key=lambda known: probabilities[known[0]])
        score = round(min(float(probabilities[position]), 1.0), SCORE_DIGITS)
        return Relation(head, tail, label, score)
