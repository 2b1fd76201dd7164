"""Extractors: units in, extractions out. Nothing here knows Spark or files of notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spanlake.config.extract import ExtractorConfig
from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Entity, Extraction, Relation, Unit
from spanlake.models.stats import Stats


class Extractor(Protocol):
    """What every model offers; one instance serves one process.

    `fingerprint` hashes all that can change an answer; `device` says where the model runs;
    `context` is how many sentences on each side its units have to bring. `training_text_hashes`
    are those (`Note.text_sha256`) of the notes in its training data, None where that is unknown.
    """

    labels: LabelSet
    fingerprint: str
    device: str
    context: int
    training_text_hashes: frozenset[str] | None
    stats: Stats

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        """Return one extraction per unit, in order."""
        ...

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        """Score relations among given entities (offsets relative to each target), per unit."""
        ...


def load_extractor(config: ExtractorConfig) -> Extractor:
    """Load the configured extractor; raises ModelError when its weights or packages are missing."""
    if config.kind == "dictionary":
        from spanlake.models.dictionary import Dictionary

        return Dictionary(load_labels(config.labels))
    if config.kind == "tagger":
        from spanlake.models.tagger.extractor import OnePassTagger

        return OnePassTagger(config)
    from spanlake.models.bert import Bert

    return Bert(config)


def model_fingerprint(config: ExtractorConfig) -> str:
    """Return the extractor's fingerprint without its weights: the driver may have no torch."""
    if config.kind == "dictionary":
        return load_extractor(config).fingerprint
    if config.kind == "tagger":
        from spanlake.models.tagger.folder import fingerprint, locate

        labels = load_labels(config.labels)
        return fingerprint(locate(config, labels), config, labels)
    from spanlake.models.checkpoints import fingerprint_of_config

    return fingerprint_of_config(config)
