"""The `bert` extractor: Kiwi-BERT's shape over any Hugging Face checkpoints.

Two token classifiers read the entities of the main and the modifier layer, a pair classifier the
relations between them (arXiv 2411.10020). Any of the three may be absent; its answers are too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spanlake.config.extractors import BertConfig
from spanlake.core.bio import words
from spanlake.core.labels import LAYERS, Layer, load_labels
from spanlake.core.types import Entity, Extraction, Relation, Span, Unit, check_offsets
from spanlake.models.checkpoints import checkpoints_fingerprint, locate
from spanlake.models.decoding import check_label_map
from spanlake.models.safe_extract import extract_encodable
from spanlake.models.stats import Stats

if TYPE_CHECKING:
    from pathlib import Path

    from spanlake.models.linking import PairClassifier
    from spanlake.models.network import Head, Network
    from spanlake.models.tagging import Tagger


def load(config: BertConfig) -> Bert:
    """Return the extractor of a configuration."""
    return Bert(config)


def fingerprint(config: BertConfig) -> str:
    """Return the hash of all that can change an answer, without loading weights."""
    return checkpoints_fingerprint(locate(config), config)


class Bert:
    """Reads units' targets (context around them is not looked at); one instance a process.

    Raises ConfigError or ModelError for what cannot be loaded. A text that the tokenizer cannot
    take is `unreadable`; an error of the device is raised.
    """

    context = 0

    def __init__(self, config: BertConfig) -> None:
        self.config = config
        self.labels = load_labels(config.labels)
        self.stats = Stats()
        check_label_map(config.label_map, self.labels)
        checkpoints = locate(config)
        self.fingerprint = checkpoints_fingerprint(checkpoints, config)
        self.training_text_hashes = checkpoints.training_text_hashes
        self.device = "cpu"
        self._taggers = [
            self._load_tagger(layer, checkpoints.folders[layer])
            for layer in LAYERS
            if layer in checkpoints.folders
        ]
        folder = checkpoints.folders.get("relation")
        self._linker = self._load_linker(folder) if folder else None

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        """Return one extraction a unit, in order, whatever the batches that they were read in."""
        return extract_encodable(units, self._read)

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        """Score relations among given entities; raises OffsetError for any not of the text."""
        for unit, unit_entities in zip(units, entities, strict=True):
            check_offsets(unit_entities, unit.target)
        texts = [unit.target for unit in units]
        linked = self._link(texts, [words(text) for text in texts], entities)
        return [relations for relations, _ in linked]

    def _read(self, units: Sequence[Unit]) -> list[Extraction]:
        texts = [unit.target for unit in units]
        text_words = [words(text) for text in texts]
        by_text: list[list[Entity]] = [[] for _ in texts]
        unseen = [0] * len(texts)
        for tagger in self._taggers:
            read = tagger.read(
                texts, text_words, budget=self.config.max_tokens_per_batch, stats=self.stats
            )
            for i, (entities, missed) in enumerate(read):
                by_text[i] += entities
                unseen[i] = max(unseen[i], missed)
        for text_entities in by_text:
            text_entities.sort(key=lambda entity: entity.key)
        linked = self._link(texts, text_words, by_text)
        return [
            Extraction(
                "ok",
                tuple(by_text[i]),
                tuple(relations),
                len(text) - unseen[i],
                undecided=tuple(undecided),
            )
            for i, (text, (relations, undecided)) in enumerate(zip(texts, linked, strict=True))
        ]

    def _link(
        self,
        texts: Sequence[str],
        text_words: Sequence[Sequence[Span]],
        entities: Sequence[Sequence[Entity]],
    ) -> list[tuple[list[Relation], list[Relation]]]:
        """Return each text's relations, and the undecided ones."""
        if self._linker is None:
            return [([], []) for _ in texts]
        return self._linker.read(
            texts, text_words, entities, budget=self.config.max_tokens_per_batch, stats=self.stats
        )

    def _load_tagger(self, layer: Layer, folder: Path) -> Tagger:
        from spanlake.models.tagging import Tagger

        return Tagger(
            self._load_network(folder, "words", self.config.max_tokens),
            layer,
            self.labels,
            label_map=self.config.label_map,
            stride=self.config.stride,
        )

    def _load_linker(self, folder: Path) -> PairClassifier:
        from spanlake.models.linking import PairClassifier

        return PairClassifier(
            self._load_network(folder, "pairs", self.config.max_pair_tokens),
            self.labels,
            label_map=self.config.label_map,
            most_words=self.config.max_pair_distance,
            threshold=self.config.pair_threshold,
        )

    def _load_network(self, folder: Path, head: Head, max_tokens: int) -> Network:
        from spanlake.models.network import Network

        network = Network(
            folder,
            head,
            max_tokens=max_tokens,
            device=self.config.device,
            precision=self.config.precision,
        )
        self.device = f"{network.device} {'bf16' if network.bf16 else 'fp32'}"
        return network
