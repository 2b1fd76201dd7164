"""One model as a reader of texts: words in, probabilities of tags and pairs out.

An extractor has one reader, an ensemble several.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spanlake.config.extractors import TaggerConfig
from spanlake.core.bio import tag_names
from spanlake.core.labels import LabelSet
from spanlake.core.types import Span, Unit
from spanlake.errors import ModelError
from spanlake.models.batching import Tokens, pad, run_batched
from spanlake.models.stats import Stats
from spanlake.models.tagger.engines import ENCODER, Engine, OpenVino, Torch
from spanlake.models.tagger.features import WordSpan
from spanlake.models.tagger.folder import WEIGHTS, Folder
from spanlake.models.windows import Cut, add_context, cut

PAIRS_AT_ONCE = 8192

Pairs = list[tuple[WordSpan, WordSpan]]  # the words of heads and tails


@dataclass(frozen=True, slots=True, eq=False)
class TokenScores:
    """A text as one model has read it: a row of tag probabilities and of hidden state a word.

    Rows of words of which the tokenizer leaves nothing are zeros, and false in `seen`.
    """

    probabilities: np.ndarray
    states: np.ndarray
    seen: np.ndarray
    unseen_chars: int


def tag_counts(labels: LabelSet) -> list[int]:
    """Return the number of BIO tags of each layer that the label set has."""
    return [len(tag_names(labels.labels_of(layer))) for layer in labels.layers]


class TaggerEncoder:
    """A loaded model folder. Raises ModelError for what cannot be loaded."""

    def __init__(
        self, folder: Folder, labels: LabelSet, config: TaggerConfig, stats: Stats
    ) -> None:
        self.pieces = folder.pieces()
        self._twice = folder.read_twice
        self.stats = stats
        self.stride, self.budget = config.stride, config.max_tokens_per_batch
        self.limit = min(config.max_tokens, self.pieces.longest) - self.pieces.specials
        self.engine = _engine(folder, labels, config)
        self.device = self.engine.device
        self._layers = tag_counts(labels)

    def read(self, units: Sequence[Unit], unit_words: Sequence[list[Span]]) -> list[TokenScores]:
        """Read targets of which `unit_words` are the words; no unit changes another's answer."""
        began = time.perf_counter()
        cuts = [
            cut(unit.target, words, self.pieces, limit=self.limit, stride=self.stride)
            for unit, words in zip(units, unit_words, strict=True)
        ]
        sequences = [
            placed
            for unit, target_cut in zip(units, cuts, strict=True)
            for placed in add_context(target_cut, unit, self.pieces, self.limit)
        ]
        if self._twice:
            sequences = [
                (ids * 2, slice(where.start + len(ids), where.stop + len(ids)))
                for ids, where in sequences
            ]
        self.stats.tokenize_seconds += time.perf_counter() - began
        rows = self._encode([ids for ids, _ in sequences])
        target_rows = iter([row[where] for row, (_, where) in zip(rows, sequences, strict=True)])
        return [
            self._merge(target_cut, [next(target_rows) for _ in target_cut.windows])
            for target_cut in cuts
        ]

    def score_relations(
        self, reads: Sequence[TokenScores], pairs: Sequence[Pairs], features: np.ndarray
    ) -> np.ndarray:
        """Return ``[pairs, relations]`` probabilities of the pairs of all texts, in order.

        `features` are the rows of `pair_features` of all texts.
        """
        reads_with_pairs = [
            (read, text_pairs) for read, text_pairs in zip(reads, pairs, strict=True) if text_pairs
        ]
        ends = (
            np.concatenate(
                [
                    _vectors(read, [pair[end] for pair in text_pairs])
                    for read, text_pairs in reads_with_pairs
                ]
            )
            for end in (0, 1)
        )
        heads, tails = ends
        parts = [slice(i, i + PAIRS_AT_ONCE) for i in range(0, len(features), PAIRS_AT_ONCE)]
        logits = np.concatenate(
            [
                self.engine.score_relations(heads[part], tails[part], features[part])
                for part in parts
            ]
        )
        _check_finite(logits)
        return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))

    def _encode(self, sequences: Sequence[Tokens]) -> list[np.ndarray]:
        """Return ``[pieces, tags and hidden state]`` of each sequence."""
        began = time.perf_counter()
        answers = run_batched(
            sequences,
            self._forward,
            budget=self.budget,
            stats=self.stats,
            out_of_memory=self.engine.out_of_memory,
        )
        self.stats.forward_seconds += time.perf_counter() - began
        return answers

    def _forward(self, batch: Sequence[Tokens]) -> list[np.ndarray]:
        rows = np.concatenate(self.engine.encode(*pad(batch, self.pieces.pad)), axis=-1)
        _check_finite(rows)
        return [rows[i, : len(tokens)] for i, tokens in enumerate(batch)]

    def _merge(self, target_cut: Cut, rows: Sequence[np.ndarray]) -> TokenScores:
        seen = np.array([bool(ids) for ids in target_cut.pieces], dtype=bool)
        merged = target_cut.merge(rows) if rows else np.zeros((0, sum(self._layers)))
        *logits, states = np.split(merged, np.cumsum(self._layers), axis=1)
        probabilities = np.concatenate([_softmax(part) for part in logits], axis=1)
        return TokenScores(probabilities * seen[:, None], states, seen, target_cut.unseen)


def _engine(folder: Folder, labels: LabelSet, config: TaggerConfig) -> Engine:
    """Return OpenVINO where the CPU is asked for, or nothing else can be used; else torch."""
    weights, graphs = ((folder.path / name).is_file() for name in (WEIGHTS, ENCODER))
    on_cpu = config.device == "cpu" or (config.device == "auto" and not (weights and _has_gpu()))
    if on_cpu and graphs:
        return OpenVino(folder.path, threads=threads(), links=bool(labels.relations))
    return Torch(folder.path, device=config.device, precision=config.precision)


def threads() -> int:
    """Return OMP_NUM_THREADS, which Spark sets for its workers to a task's cores; else 0: all."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # others are for nested loops
    return int(first) if first.isdecimal() else 0


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ModelError("the model gives scores that are no numbers")


def _vectors(read: TokenScores, spans: Sequence[WordSpan]) -> np.ndarray:
    """Return ``[spans, 2 * hidden]``: the states of each one's first and last word."""
    firsts = read.states[[first for first, _ in spans]]
    lasts = read.states[[last - 1 for _, last in spans]]
    return np.concatenate((firsts, lasts), axis=1).astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True)) if logits.size else logits
    return powers / powers.sum(axis=-1, keepdims=True) if logits.size else logits
