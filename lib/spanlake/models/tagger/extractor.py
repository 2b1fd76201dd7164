"""The `tagger` extractor: entities of both layers and their relations from one forward pass."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from spanlake.core.bio import tag_names, words
from spanlake.core.config import ExtractorConfig
from spanlake.core.errors import ModelError
from spanlake.core.labels import LAYERS, load_labels
from spanlake.core.spans import Entity, Relation, Span, check_offsets
from spanlake.core.units import Extraction, Unit
from spanlake.models.batching import Tokens, pad, run_batched
from spanlake.models.decoding import SCORE_DIGITS, TagDecoder, tag_decoder
from spanlake.models.guard import extract_encodable
from spanlake.models.pairs import candidates
from spanlake.models.stats import Stats
from spanlake.models.tagger.engines import ENCODER, Engine, OpenVino, Torch
from spanlake.models.tagger.folder import WEIGHTS, Folder, fingerprint, locate
from spanlake.models.tagger.pair_features import WordSpan, pair_features, word_spans
from spanlake.models.windows import cut

UNITS_AT_ONCE = 2048  # hidden states of all their words are held: 100 MB for 384 numbers a word
PAIRS_AT_ONCE = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A text as the model has read it: a row of tag logits and of hidden state a word.

    Rows of words of which the tokenizer leaves nothing are zeros, and false in `seen`.
    """

    text: str
    words: list[Span]
    logits: np.ndarray
    states: np.ndarray
    seen: np.ndarray
    unseen_chars: int


class OnePassTagger:
    """Reads units' targets; one instance a process. Raises ModelError for what cannot be loaded."""

    def __init__(self, config: ExtractorConfig) -> None:
        self.config = config
        self.labels = load_labels(config.labels)
        self.stats = Stats()
        folder = locate(config)
        self.fingerprint = fingerprint(folder, config)
        self.pieces = folder.pieces()
        self.limit = min(config.max_tokens, self.pieces.longest) - self.pieces.specials
        self.engine = _engine(folder, config)
        self.device = self.engine.device
        self._decoders = _decoders(config)

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        """Return one extraction a unit, in order, whatever the batches that they were read in."""
        chunks = (units[i : i + UNITS_AT_ONCE] for i in range(0, len(units), UNITS_AT_ONCE))
        return [answer for some in chunks for answer in extract_encodable(some, self._extract)]

    def link(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        """Score relations among given entities; raises OffsetError for any not of the text."""
        for unit, mine in zip(units, entities, strict=True):
            check_offsets(mine, unit.target)
        found: list[list[Relation]] = []
        for i in range(0, len(units), UNITS_AT_ONCE):
            reads = self._read([unit.target for unit in units[i : i + UNITS_AT_ONCE]])
            found += self._link(reads, entities[i : i + UNITS_AT_ONCE])
        return found

    def _extract(self, texts: Sequence[str]) -> list[Extraction]:
        reads = self._read(texts)
        began = time.perf_counter()
        entities = [self._entities(read) for read in reads]
        self.stats.decode_seconds += time.perf_counter() - began
        relations = self._link(reads, entities)
        return [
            Extraction("ok", tuple(mine), tuple(related), len(read.text) - read.unseen_chars)
            for read, mine, related in zip(reads, entities, relations, strict=True)
        ]

    def _read(self, texts: Sequence[str]) -> list[Read]:
        began = time.perf_counter()
        text_words = [words(text) for text in texts]
        cuts = [
            cut(text, own, self.pieces, limit=self.limit, stride=self.config.stride)
            for text, own in zip(texts, text_words, strict=True)
        ]
        sequences = [self.pieces.wrap(ids) for one in cuts for ids in one.sequences()]
        self.stats.tokenize_seconds += time.perf_counter() - began
        rows = iter(self._encode(sequences))
        reads = []
        for text, own, one in zip(texts, text_words, cuts, strict=True):
            merged = one.merge([next(rows) for _ in one.windows]) if own else np.zeros((0, 1))
            tags = sum(len(decoder.tags) for decoder in self._decoders)
            seen = np.array([bool(ids) for ids in one.pieces])
            reads.append(Read(text, own, merged[:, :tags], merged[:, tags:], seen, one.unseen))
        return reads

    def _encode(self, sequences: Sequence[Tokens]) -> list[np.ndarray]:
        """Return ``[pieces, tags and hidden state]`` of each sequence, special tokens left out."""
        began = time.perf_counter()
        answers = run_batched(
            sequences,
            self._forward,
            budget=self.config.batch_tokens,
            stats=self.stats,
            out_of_memory=self.engine.out_of_memory,
        )
        self.stats.forward_seconds += time.perf_counter() - began
        return answers

    def _forward(self, batch: list[Tokens]) -> list[np.ndarray]:
        rows = np.concatenate(self.engine.encode(*pad(batch, self.pieces.pad)), axis=-1)
        _check_finite(rows)
        first, last = len(self.pieces.before), len(self.pieces.after)
        return [rows[i, first : len(tokens) - last] for i, tokens in enumerate(batch)]

    def _entities(self, read: Read) -> list[Entity]:
        found: list[Entity] = []
        place = 0
        for decoder in self._decoders:
            logits = read.logits[:, place : place + len(decoder.tags)]
            place += len(decoder.tags)
            found += decoder.entities(read.text, read.words, _softmax(logits), read.seen)
        return sorted(found, key=lambda entity: entity.key)

    def _link(
        self, reads: Sequence[Read], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        began = time.perf_counter()
        asked = [self._pairs(read, mine) for read, mine in zip(reads, entities, strict=True)]
        scores = iter(self._scores(reads, entities, asked))
        found = [
            list(chain.from_iterable(self._relations(pair, next(scores)) for pair in pairs))
            for pairs in asked
        ]
        self.stats.decode_seconds += time.perf_counter() - began
        return found

    def _pairs(self, read: Read, entities: Sequence[Entity]) -> list[tuple[int, int]]:
        """Return the candidates whose ends the model has seen, as in training."""
        if not self.labels.relations:
            return []
        spans = word_spans(read.words, entities)
        seen = [first < last and read.seen[[first, last - 1]].all() for first, last in spans]
        pairs = candidates(read.words, entities, self.labels, self.config.max_pair_words)
        return [(head, tail) for head, tail in pairs if seen[head] and seen[tail]]

    def _scores(
        self,
        reads: Sequence[Read],
        entities: Sequence[Sequence[Entity]],
        asked: Sequence[list[tuple[int, int]]],
    ) -> np.ndarray:
        """Return ``[pairs, relations]`` probabilities of all texts' pairs, in order."""
        inputs = [
            self._pair_inputs(read, mine, pairs)
            for read, mine, pairs in zip(reads, entities, asked, strict=True)
            if pairs
        ]
        if not inputs:
            return np.zeros((0, 1))
        joined = [np.concatenate(rows) for rows in zip(*inputs, strict=True)]
        parts = [slice(i, i + PAIRS_AT_ONCE) for i in range(0, len(joined[0]), PAIRS_AT_ONCE)]
        logits = np.concatenate(
            [self.engine.link(*(rows[part] for rows in joined)) for part in parts]
        )
        _check_finite(logits)
        return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))

    def _pair_inputs(
        self, read: Read, entities: Sequence[Entity], pairs: Sequence[tuple[int, int]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the vectors of one text's heads and tails, and the features of its pairs."""
        spans = word_spans(read.words, entities)
        heads, tails = ([spans[i] for i in ends] for ends in zip(*pairs, strict=True))
        features = pair_features(read.text, read.words, entities, pairs, self.labels)
        return _vectors(read, heads), _vectors(read, tails), features

    def _relations(self, pair: tuple[int, int], scores: np.ndarray) -> list[Relation]:
        return [
            Relation(*pair, label, round(float(score), SCORE_DIGITS))
            for label, score in zip(self.labels.relations, scores, strict=True)
            if score >= self.config.pair_threshold
        ]


def _engine(folder: Folder, config: ExtractorConfig) -> Engine:
    """Return OpenVINO where the CPU is asked for, or nothing else can be used; else torch."""
    weights, graphs = ((folder.path / name).is_file() for name in (WEIGHTS, ENCODER))
    on_cpu = config.device == "cpu" or (config.device == "auto" and not (weights and _has_gpu()))
    if on_cpu and graphs:
        threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
        links = bool(load_labels(config.labels).relations)
        return OpenVino(folder.path, threads=threads, links=links)
    return Torch(folder.path, device=config.device, precision=config.precision)


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _decoders(config: ExtractorConfig) -> list[TagDecoder]:
    labels = load_labels(config.labels)
    return [
        tag_decoder(tag_names(labels.labels_of(layer)), {}, labels, layer)
        for layer in LAYERS
        if labels.labels_of(layer)
    ]


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ModelError("the model gives scores that are no numbers")


def _vectors(read: Read, spans: Sequence[WordSpan]) -> np.ndarray:
    """Return ``[spans, 2 * hidden]``: the states of each one's first and last word."""
    firsts = read.states[[first for first, _ in spans]]
    lasts = read.states[[last - 1 for _, last in spans]]
    return np.concatenate((firsts, lasts), axis=1).astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True)) if logits.size else logits
    return powers / powers.sum(axis=-1, keepdims=True) if logits.size else logits
