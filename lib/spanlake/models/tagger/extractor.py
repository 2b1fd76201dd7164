"""The `tagger` extractor: entities of both layers and their relations from one forward pass.

Several models may read together: the probabilities of tags and of pairs are then their means.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from spanlake.config.extractors import TaggerConfig
from spanlake.core.assertions import ASSERTION_LABELS, REJECTED
from spanlake.core.bio import tag_names, words
from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Entity, Extraction, Relation, Span, Unit, check_offsets
from spanlake.models.decoding import SCORE_DIGITS, TagDecoder, tag_decoder
from spanlake.models.loading import training_text_hashes
from spanlake.models.pairs import candidates
from spanlake.models.safe_extract import extract_encodable
from spanlake.models.stats import Stats
from spanlake.models.tagger.encoder import TaggerEncoder, TokenScores, tag_counts
from spanlake.models.tagger.features import WordSpan, pair_features, word_spans
from spanlake.models.tagger.folder import Folder, calibration_of, folders_fingerprint, locate

UNITS_AT_ONCE = 2048  # hidden states of all their words are held: 100 MB for 384 numbers a word


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleScores:
    """A text as all models have read it: `probabilities` are the mean over those that saw a word.

    Rows of words that none has seen are zeros, and false in `seen`.
    """

    text: str
    words: list[Span]
    reads: tuple[TokenScores, ...]
    probabilities: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, text: str, words: list[Span], reads: tuple[TokenScores, ...]) -> EnsembleScores:
        saw = np.sum([read.seen for read in reads], axis=0)
        total = np.sum([read.probabilities for read in reads], axis=0)
        return cls(text, words, reads, total / np.maximum(saw, 1)[:, None], saw > 0)

    @property
    def chars_seen(self) -> int:
        """Count the characters that every model has read."""
        return len(self.text) - max(read.unseen_chars for read in self.reads)


@dataclass(frozen=True, slots=True)
class CandidatePairs:
    """The pairs of a text's entities that are scored: positions, words, and what is told of them.

    `told` is ``[pairs, features]``.
    """

    places: list[tuple[int, int]]
    words: list[tuple[WordSpan, WordSpan]]
    told: np.ndarray


Scored = tuple[list[tuple[int, int]], np.ndarray]  # pairs, and their ``[pairs, relations]`` scores


def load(config: TaggerConfig) -> OnePassTagger:
    """Return the extractor of a configuration."""
    return OnePassTagger(config)


def fingerprint(config: TaggerConfig) -> str:
    """Return the hash of all that can change an answer, without loading weights."""
    labels = load_labels(config.labels)
    return folders_fingerprint(locate(config, labels), config, labels)


class OnePassTagger:
    """Reads units' targets, and sees what their units bring around them; one instance a process.

    Raises ModelError for what cannot be loaded.
    """

    def __init__(self, config: TaggerConfig) -> None:
        self.config = config
        self.context = config.context
        self.labels = load_labels(config.labels)
        self.stats = Stats()
        folders = locate(config, self.labels)
        self.fingerprint = folders_fingerprint(folders, config, self.labels)
        self.training_text_hashes = _training_text_hashes(folders)
        self.readers = [
            TaggerEncoder(folder, self.labels, config, self.stats) for folder in folders
        ]
        self.device = self.readers[0].device
        self.calibration = calibration_of(folders, config, self.labels)
        self._decoders = _decoders(self.labels)

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        """Return one extraction a unit, in order, whatever the batches that they were read in."""
        chunks = (units[i : i + UNITS_AT_ONCE] for i in range(0, len(units), UNITS_AT_ONCE))
        return [answer for some in chunks for answer in extract_encodable(some, self._extract)]

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        """Score relations among given entities; raises OffsetError for any not of the text."""
        for unit, mine in zip(units, entities, strict=True):
            check_offsets(mine, unit.target)
        found: list[list[Relation]] = []
        for i in range(0, len(units), UNITS_AT_ONCE):
            texts = self.read(units[i : i + UNITS_AT_ONCE])
            found += self._link(texts, entities[i : i + UNITS_AT_ONCE])
        return found

    def read(self, units: Sequence[Unit]) -> list[EnsembleScores]:
        """Return what the models make of every unit's target, before anything is decided."""
        unit_words = [words(unit.target) for unit in units]
        by_model = [reader.read(units, unit_words) for reader in self.readers]
        read = [
            EnsembleScores.of(unit.target, own, reads)
            for unit, own, reads in zip(units, unit_words, zip(*by_model, strict=True), strict=True)
        ]
        return [self._calibrated(text) for text in read]

    def _calibrated(self, text: EnsembleScores) -> EnsembleScores:
        layers = tag_counts(self.labels)
        return replace(text, probabilities=self.calibration.of_tags(text.probabilities, layers))

    def entities(self, text: EnsembleScores) -> tuple[list[Entity], float]:
        """Return the surer entities of the most probable legal tags of both layers.

        The number is the probability that these are all of the text's entities, and all right.
        """
        edges = np.cumsum(tag_counts(self.labels))[:-1]
        layers = np.split(text.probabilities, edges, axis=1)
        found = [
            decoder.read(
                text.text, text.words, probabilities, text.seen, self.config.entity_threshold
            )
            for decoder, probabilities in zip(self._decoders, layers, strict=True)
        ]
        entities = chain.from_iterable(entities for entities, _ in found)
        return sorted(entities, key=lambda e: e.key), math.prod(sure for _, sure in found)

    def pair_scores(
        self, texts: Sequence[EnsembleScores], entities: Sequence[Sequence[Entity]]
    ) -> list[Scored]:
        """Return every text's (head, tail) places and their ``[pairs, relations]`` scores."""
        if not texts:
            return []
        asked = [self.asked(text, mine) for text, mine in zip(texts, entities, strict=True)]
        counts = [len(one.places) for one in asked]
        scores = np.zeros((sum(counts), len(self.labels.relations)))
        if len(scores):
            told = np.concatenate([one.told for one in asked if one.places])
            pairs = [one.words for one in asked]
            for i, reader in enumerate(self.readers):
                scores += reader.score_relations([text.reads[i] for text in texts], pairs, told)
        scores = self.calibration.of_pairs(scores / len(self.readers))
        rows = np.split(scores, np.cumsum(counts)[:-1])
        return [(one.places, mine) for one, mine in zip(asked, rows, strict=True)]

    def _extract(self, units: Sequence[Unit]) -> list[Extraction]:
        read = self.read(units)
        began = time.perf_counter()
        found = [self.entities(text) for text in read]
        scored = self.pair_scores(read, [entities for entities, _ in found])
        answers = [self._answer(*parts) for parts in zip(read, found, scored, strict=True)]
        self.stats.decode_seconds += time.perf_counter() - began
        return answers

    def _answer(
        self, text: EnsembleScores, found: tuple[list[Entity], float], scored: Scored
    ) -> Extraction:
        entities, sure = found
        places, scores = scored
        relations, undecided = self._relations(entities, places, scores)
        names = list(self.labels.relations)
        taken = {(one.head, one.tail, one.label) for one in relations}
        for pair, row in zip(places, scores.tolist(), strict=True):
            for name, linked in zip(names, row, strict=True):
                sure *= linked if (*pair, name) in taken else 1.0 - linked
        return Extraction(
            "ok",
            tuple(entities),
            tuple(relations),
            text.chars_seen,
            confidence=round(sure, SCORE_DIGITS),
            undecided=tuple(undecided),
        )

    def _link(
        self, texts: Sequence[EnsembleScores], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        scored = self.pair_scores(texts, entities)
        return [self._relations(mine, *one)[0] for mine, one in zip(entities, scored, strict=True)]

    def asked(self, text: EnsembleScores, entities: Sequence[Entity]) -> CandidatePairs:
        """Return the candidates whose ends the models have seen, as in training."""
        if not self.labels.relations:
            return CandidatePairs([], [], np.zeros((0, 0)))
        spans = word_spans(text.words, entities)
        seen = [first < last and text.seen[[first, last - 1]].all() for first, last in spans]
        pairs = candidates(text.words, entities, self.labels, self.config.max_pair_distance)
        places = [(head, tail) for head, tail in pairs if seen[head] and seen[tail]]
        told = pair_features(text.text, text.words, entities, places, self.labels)
        return CandidatePairs(places, [(spans[head], spans[tail]) for head, tail in places], told)

    def _relations(
        self, entities: Sequence[Entity], places: Sequence[tuple[int, int]], scores: np.ndarray
    ) -> tuple[list[Relation], list[Relation]]:
        """Return the pairs that are related and whose ends are right, probably and perhaps.

        A relation's score is the probability of all three; given entities without a score are
        taken for right. The second list holds `undecided` relations.
        """
        sure = [1.0 if entity.score is None else entity.score for entity in entities]
        thresholds = self.config.pair_threshold, self.config.relation_threshold
        found: list[Relation] = []
        undecided: list[Relation] = []
        for (head, tail), row in zip(places, scores.tolist(), strict=True):
            for label, linked in zip(self.labels.relations, row, strict=True):
                score = round(linked * sure[head] * sure[tail], SCORE_DIGITS)
                relation = Relation(head, tail, label, score)
                if linked >= thresholds[0] and score >= thresholds[1]:
                    found.append(relation)
                elif entities[tail].label in ASSERTION_LABELS and (
                    linked >= REJECTED * thresholds[0] and score >= REJECTED * thresholds[1]
                ):
                    undecided.append(relation)
        return found, undecided


def _training_text_hashes(folders: Sequence[Folder]) -> frozenset[str] | None:
    """Return the union of the models' hashes; None where one does not record them."""
    hashes: frozenset[str] = frozenset()
    for folder in folders:
        told = training_text_hashes(folder.manifest)
        if told is None:
            return None
        hashes |= told
    return hashes


def _decoders(labels: LabelSet) -> list[TagDecoder]:
    return [
        tag_decoder(tag_names(labels.labels_of(layer)), {}, labels, layer)
        for layer in labels.layers
    ]
