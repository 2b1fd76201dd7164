"""The extractor `cascade`: a cheap model reads all texts, an accurate one those it is unsure of.

The least confident texts go to the second model, whose answer then stands. Which texts those are
depends on a threshold alone, so an answer does not depend on the texts that it is read with.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from importlib import resources

import numpy as np

from spanlake.config.extractors import CascadeConfig
from spanlake.core.labels import load_labels
from spanlake.core.types import Entity, Extraction, Relation, Unit, units_of
from spanlake.models import Extractor, load_extractor, model_fingerprint
from spanlake.models.stats import Stats
from spanlake.text.sentences import split

EXTRACTOR_VERSION = 1  # raise when the code gives other answers for the same models and options


def load(config: CascadeConfig) -> Cascade:
    """Return the extractor of a configuration."""
    return Cascade(config)


def fingerprint(config: CascadeConfig) -> str:
    """Return the hash of all that can change an answer, without loading weights."""
    parts = [
        f"cascade {EXTRACTOR_VERSION}",
        model_fingerprint(config.first),
        model_fingerprint(config.second),
        config.confidence_threshold,
        config.llm_share,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class Cascade:
    """Two extractors with one label set. `stats.passed_on` counts the texts for the second."""

    def __init__(self, config: CascadeConfig) -> None:
        self.labels = load_labels(config.labels)
        self.fingerprint = fingerprint(config)
        self.first = load_extractor(config.first)
        self.second = load_extractor(config.second)
        self.context = self.first.context
        self.device = f"{self.first.device}, {self.second.device}"
        self.training_text_hashes = _union(self.first, self.second)
        self.stats = Stats()
        if config.confidence_threshold is not None:
            self.threshold = config.confidence_threshold
        else:
            assert config.llm_share is not None
            self.threshold = threshold_of_share(self.first, config.llm_share)

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        """Return one extraction a unit, in order."""
        answers = self.first.extract(units)
        unsure = [i for i, answer in enumerate(answers) if self._is_unsure(answer)]
        second = self.second.extract([units[i] for i in unsure])
        for i, answer in zip(unsure, second, strict=True):
            if answer.outcome == "ok":
                answers[i] = answer
        self._count(len(unsure))
        return answers

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        """Return the first model's relations among given entities."""
        relations = self.first.score_relations(units, entities)
        self._count(0)
        return relations

    def _is_unsure(self, answer: Extraction) -> bool:
        return answer.outcome == "ok" and (
            answer.confidence is None or answer.confidence < self.threshold
        )

    def _count(self, passed_on: int) -> None:
        self.stats.passed_on += passed_on
        self.stats.add(self.first.stats.take())
        self.stats.add(self.second.stats.take())


def _union(first: Extractor, second: Extractor) -> frozenset[str] | None:
    hashes = first.training_text_hashes, second.training_text_hashes
    return hashes[0] | hashes[1] if hashes[0] is not None and hashes[1] is not None else None


def threshold_of_share(extractor: Extractor, share: float) -> float:
    """Return the confidence below which this share of the bundled notes' sentences lies.

    The share of other notes will differ: what is passed on is counted.
    """
    if share == 0.0 or share == 1.0:
        return -math.inf if share == 0.0 else math.inf
    folder = resources.files("spanlake") / "samples" / "notes"
    texts = [p.read_text(encoding="utf-8") for p in folder.iterdir() if p.name.endswith(".txt")]
    units = [unit for text in texts for unit in units_of(text, split(text), extractor.context)]
    answers = extractor.extract(units)
    extractor.stats.take()
    return float(np.quantile([answer.confidence or 0.0 for answer in answers], share))
