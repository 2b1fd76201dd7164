"""Extractors: units in, extractions out. Nothing here knows Spark or files of notes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from spanlake.config.extractors import ExtractorConfig
from spanlake.core.labels import LabelSet
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


# Each module has `load(config)`, and `fingerprint(config)`, which needs no torch.
EXTRACTORS = {
    "dictionary": "spanlake.models.dictionary",
    "tagger": "spanlake.models.tagger.extractor",
    "bert": "spanlake.models.bert",
    "llama_markup": "spanlake.models.llama.extractor",
    "llama_bio": "spanlake.models.llama.extractor",
    "cascade": "spanlake.models.cascade",
}


def load_extractor(config: ExtractorConfig) -> Extractor:
    """Load the configured extractor; raises ModelError when its weights or packages are missing."""
    extractor: Extractor = import_module(EXTRACTORS[config.kind]).load(config)
    return extractor


def model_fingerprint(config: ExtractorConfig) -> str:
    """Return the extractor's fingerprint without its weights: the driver may have no torch."""
    return str(import_module(EXTRACTORS[config.kind]).fingerprint(config))
