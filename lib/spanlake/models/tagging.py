"""Entities of one layer: a token classifier over words, windows and legal paths."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from spanlake.core.labels import LabelSet, Layer
from spanlake.core.types import Entity, Span
from spanlake.models.decoding import tag_decoder
from spanlake.models.network import Network
from spanlake.models.stats import Stats
from spanlake.models.windows import Cut, cut


class Tagger:
    """Reads the entities of one layer; what it reads of a text is independent of other texts."""

    def __init__(
        self,
        network: Network,
        layer: Layer,
        labels: LabelSet,
        *,
        label_map: Mapping[str, str],
        stride: int,
    ) -> None:
        self.network = network
        self.decoder = tag_decoder(network.class_names, label_map, labels, layer)
        self.stride = stride

    def read(
        self, texts: Sequence[str], words: Sequence[Sequence[Span]], *, budget: int, stats: Stats
    ) -> list[tuple[list[Entity], int]]:
        """Return each text's entities, and how many of its characters the model has not seen."""
        began = time.perf_counter()
        network = self.network
        cuts = [
            cut(text, text_words, network.pieces, limit=network.limit, stride=self.stride)
            for text, text_words in zip(texts, words, strict=True)
        ]
        sequences = [sequence for text_cut in cuts for sequence in text_cut.sequences()]
        stats.tokenize_seconds += time.perf_counter() - began
        rows = iter(network.probabilities(sequences, budget=budget, stats=stats))
        began = time.perf_counter()
        answers = []
        for text, text_words, text_cut in zip(texts, words, cuts, strict=True):
            window_rows = [next(rows) for _ in text_cut.windows]
            answers.append((self._decode(text, text_words, text_cut, window_rows), text_cut.unseen))
        stats.decode_seconds += time.perf_counter() - began
        return answers

    def _decode(
        self, text: str, words: Sequence[Span], text_cut: Cut, rows: Sequence[np.ndarray]
    ) -> list[Entity]:
        if not words:
            return []
        seen = np.array([bool(ids) for ids in text_cut.pieces])
        return self.decoder.read(text, words, text_cut.merge(rows), seen)[0]
