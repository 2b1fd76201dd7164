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
    """The pairs of a text's entities that are scored: positions, words, and their features.

    `features` is ``[pairs, features]``.
    """

    places: list[tuple[int, int]]
    words: list[tuple[WordSpan, WordSpan]]
    features: np.ndarray


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
        for unit, unit_entities in zip(units, entities, strict=True):
            check_offsets(unit_entities, unit.target)
        relations: list[list[Relation]] = []
        for i in range(0, len(units), UNITS_AT_ONCE):
            texts = self.read(units[i : i + UNITS_AT_ONCE])
            relations += self._link(texts, entities[i : i + UNITS_AT_ONCE])
        return relations

    def read(self, units: Sequence[Unit]) -> list[EnsembleScores]:
        """Return what the models make of every unit's target, before anything is decided."""
        unit_words = [words(unit.target) for unit in units]
        by_model = [reader.read(units, unit_words) for reader in self.readers]
        read = [
            EnsembleScores.of(unit.target, target_words, reads)
            for unit, target_words, reads in zip(
                units, unit_words, zip(*by_model, strict=True), strict=True
            )
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
        decoded = [
            decoder.read(
                text.text, text.words, probabilities, text.seen, self.config.entity_threshold
            )
            for decoder, probabilities in zip(self._decoders, layers, strict=True)
        ]
        entities = chain.from_iterable(entities for entities, _ in decoded)
        return sorted(entities, key=lambda e: e.key), math.prod(
            probability for _, probability in decoded
        )

    def pair_scores(
        self, texts: Sequence[EnsembleScores], entities: Sequence[Sequence[Entity]]
    ) -> list[Scored]:
        """Return every text's (head, tail) places and their ``[pairs, relations]`` scores."""
        if not texts:
            return []
        candidate_pairs = [
            self.candidate_pairs(text, text_entities)
            for text, text_entities in zip(texts, entities, strict=True)
        ]
        counts = [len(text_pairs.places) for text_pairs in candidate_pairs]
        scores = np.zeros((sum(counts), len(self.labels.relations)))
        if len(scores):
            features = np.concatenate(
                [text_pairs.features for text_pairs in candidate_pairs if text_pairs.places]
            )
            pairs = [text_pairs.words for text_pairs in candidate_pairs]
            for i, reader in enumerate(self.readers):
                scores += reader.score_relations([text.reads[i] for text in texts], pairs, features)
        scores = self.calibration.of_pairs(scores / len(self.readers))
        rows = np.split(scores, np.cumsum(counts)[:-1])
        return [
            (text_pairs.places, pair_rows)
            for text_pairs, pair_rows in zip(candidate_pairs, rows, strict=True)
        ]

    def _extract(self, units: Sequence[Unit]) -> list[Extraction]:
        read = self.read(units)
        began = time.perf_counter()
        decoded = [self.entities(text) for text in read]
        scored = self.pair_scores(read, [entities for entities, _ in decoded])
        answers = [self._answer(*parts) for parts in zip(read, decoded, scored, strict=True)]
        self.stats.decode_seconds += time.perf_counter() - began
        return answers

    def _answer(
        self, text: EnsembleScores, decoded: tuple[list[Entity], float], scored: Scored
    ) -> Extraction:
        entities, confidence = decoded
        places, scores = scored
        relations, undecided = self._relations(entities, places, scores)
        names = list(self.labels.relations)
        taken = {(relation.head, relation.tail, relation.label) for relation in relations}
        for pair, row in zip(places, scores.tolist(), strict=True):
            for name, linked in zip(names, row, strict=True):
                confidence *= linked if (*pair, name) in taken else 1.0 - linked
        return Extraction(
            "ok",
            tuple(entities),
            tuple(relations),
            text.chars_seen,
            confidence=round(confidence, SCORE_DIGITS),
            undecided=tuple(undecided),
        )

    def _link(
        self, texts: Sequence[EnsembleScores], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        scored = self.pair_scores(texts, entities)
        return [
            self._relations(text_entities, *text_scores)[0]
            for text_entities, text_scores in zip(entities, scored, strict=True)
        ]

    def candidate_pairs(self, text: EnsembleScores, entities: Sequence[Entity]) -> CandidatePairs:
        """Return the candidates whose ends the models have seen, as in training."""
        if not self.labels.relations:
            return CandidatePairs([], [], np.zeros((0, 0)))
        spans = word_spans(text.words, entities)
        seen = [first < last and text.seen[[first, last - 1]].all() for first, last in spans]
        pairs = candidates(text.words, entities, self.labels, self.config.max_pair_distance)
        places = [(head, tail) for head, tail in pairs if seen[head] and seen[tail]]
        features = pair_features(text.text, text.words, entities, places, self.labels)
        return CandidatePairs(
            places, [(spans[head], spans[tail]) for head, tail in places], features
        )

    def _relations(
        self, entities: Sequence[Entity], places: Sequence[tuple[int, int]], scores: np.ndarray
    ) -> tuple[list[Relation], list[Relation]]:
        """Return the pairs that are related and whose ends are right, probably and perhaps.

        A relation's score is the probability of all three; given entities without a score are
        taken for right. The second list holds `undecided` relations.
        """
        probabilities = [1.0 if entity.score is None else entity.score for entity in entities]
        thresholds = self.config.pair_threshold, self.config.relation_threshold
        relations: list[Relation] = []
        undecided: list[Relation] = []
        for (head, tail), row in zip(places, scores.tolist(), strict=True):
            for label, linked in zip(self.labels.relations, row, strict=True):
                score = round(linked * probabilities[head] * probabilities[tail], SCORE_DIGITS)
                relation = Relation(head, tail, label, score)
                if linked >= thresholds[0] and score >= thresholds[1]:
                    relations.append(relation)
                elif entities[tail].label in ASSERTION_LABELS and (
                    linked >= REJECTED * thresholds[0] and score >= REJECTED * thresholds[1]
                ):
                    undecided.append(relation)
        return relations, undecided


def _training_text_hashes(folders: Sequence[Folder]) -> frozenset[str] | None:
    """Return the union of the models' hashes; None where one does not record them."""
    hashes: frozenset[str] = frozenset()
    for folder in folders:
        model_hashes = training_text_hashes(folder.manifest)
        if model_hashes is None:
            return None
        hashes |= model_hashes
    return hashes


def _decoders(labels: LabelSet) -> list[TagDecoder]:
    return [
        tag_decoder(tag_names(labels.labels_of(layer)), {}, labels, layer)
        for layer in labels.layers
    ]
