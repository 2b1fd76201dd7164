"""Entities of one layer: a token classifier over words, windows and legal paths."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from spanlake.core.labels import LabelSet, Layer
from spanlake.core.spans import Entity, Span
from spanlake.models.decoding import tag_decoder
from spanlake.models.network import Network
from spanlake.models.pieces import Pieces
from spanlake.models.stats import Stats
from spanlake.models.windows import Window, merge_windows, plan_windows


@dataclass(frozen=True, slots=True)
class Cut:
    """A text as a model reads it: each word's piece ids, and windows over the words.

    `unseen` counts the characters at the ends of words that alone overflow a window.
    """

    pieces: list[list[int]]
    windows: list[Window]
    unseen: int

    def sequences(self) -> list[list[int]]:
        """Return the piece ids of every window."""
        return [list(chain.from_iterable(self.pieces[a:b])) for a, b in self.windows]

    def merge(self, window_rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return one row a word from each window's rows of pieces: that of its first piece.

        Rows of words without pieces are zeros.
        """
        sizes = np.array([len(ids) for ids in self.pieces])
        by_word = []
        for (first, last), rows in zip(self.windows, window_rows, strict=True):
            mine = sizes[first:last]
            scores = np.zeros((last - first, rows.shape[1]), dtype=rows.dtype)
            scores[mine > 0] = rows[(np.cumsum(mine) - mine)[mine > 0]]
            by_word.append(scores)
        return merge_windows(self.windows, by_word)


def cut(text: str, words: Sequence[Span], pieces: Pieces, *, limit: int, stride: int) -> Cut:
    """Cut a text's words into pieces and windows of at most `limit` pieces that share `stride`."""
    texts = [text[word.start : word.end] for word in words]
    ids = pieces.of(texts)
    long = [word for word, own in zip(texts, ids, strict=True) if len(own) > limit]
    fitting = [own[:limit] for own in ids]
    return Cut(
        fitting,
        plan_windows([len(own) for own in fitting], limit, min(stride, limit // 2)),
        sum(len(word) - pieces.characters_in(word, limit) for word in long),
    )


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
            cut(text, own, network.pieces, limit=network.limit, stride=self.stride)
            for text, own in zip(texts, words, strict=True)
        ]
        sequences = [sequence for one in cuts for sequence in one.sequences()]
        stats.tokenize_seconds += time.perf_counter() - began
        rows = iter(network.probabilities(sequences, budget=budget, stats=stats))
        began = time.perf_counter()
        found = []
        for text, own, one in zip(texts, words, cuts, strict=True):
            mine = [next(rows) for _ in one.windows]
            found.append((self._decode(text, own, one, mine), one.unseen))
        stats.decode_seconds += time.perf_counter() - began
        return found

    def _decode(
        self, text: str, words: Sequence[Span], one: Cut, rows: Sequence[np.ndarray]
    ) -> list[Entity]:
        if not words:
            return []
        seen = np.array([bool(ids) for ids in one.pieces])
        return self.decoder.entities(text, words, one.merge(rows), seen)
