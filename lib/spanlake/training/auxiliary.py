"""Auxiliary corpora: notes annotated otherwise, learnt by heads of their own over the same encoder.

No relations are learnt from them, and a saved model knows nothing of their labels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spanlake.config.train import AuxiliaryNotes
from spanlake.core.labels import LabelSet, labels_digest, load_labels
from spanlake.corpora import GoldNote, ReadReport, read_brat, read_iob, read_jsonl, read_phee
from spanlake.errors import DataError
from spanlake.models.tagger.pair_features import feature_count
from spanlake.models.tagger.reader import tag_counts
from spanlake.training.datasets import Feature, examples_of
from spanlake.training.joint import Target, gold_targets
from spanlake.training.recipe import notes_digest

Reader = Callable[[Path, LabelSet], tuple[list[GoldNote], ReadReport]]

READERS: dict[str, Reader] = {
    "brat": read_brat,
    "jsonl": read_jsonl,
    "iob": read_iob,
    "phee": read_phee,
}

DRAW = 2  # parts these draws from others of the same seed and epoch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Corpus:
    """An auxiliary corpus's notes, and the label set that they are annotated by."""

    labels: LabelSet
    notes: list[GoldNote]


def read_auxiliary(sources: Iterable[AuxiliaryNotes]) -> list[Corpus]:
    """Read corpora; what a reader has to leave out is logged as counts: there is much of it.

    Raises ConfigError for an unknown label set, DataError for notes that are not there or that
    hold no entity of their label set.
    """
    return [_read(source) for source in sources]


def _read(source: AuxiliaryNotes) -> Corpus:
    labels = load_labels(source.labels)
    corpus = Corpus(labels, [])
    for path in source.paths:
        notes, report = READERS[source.format](path, labels)
        if not any(gold.annotation.entities for gold in notes):
            raise DataError(f"{path}: no entities of {labels.name}, read as {source.format}")
        log.info("%s: %d notes; %s", path, len(notes), dict(report.counts))
        corpus.notes.extend(notes)
    return corpus


def auxiliary_recipe(corpora: Sequence[Corpus], share: float) -> dict[str, Any]:
    """Return what decides the outcome; nothing without corpora, which is what recipes said before.

    The order counts: heads are drawn by chance one after the other.
    """
    if not corpora:
        return {}
    told = [
        {"labels_sha256": labels_digest(one.labels), "notes_sha256": notes_digest(one.notes)}
        for one in corpora
    ]
    return {"auxiliary": told, "auxiliary_share": share}


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """What is learnt beside our sentences, in the order of the corpora.

    `targets` are a corpus's sentences, `layers` the sizes of its layers' tags, `counts` what the
    sentences hold; `share` is how many of all are learnt an epoch, for one of ours.
    """

    targets: tuple[list[Target], ...] = ()
    layers: tuple[list[int], ...] = ()
    counts: tuple[dict[str, Any], ...] = ()
    share: float = 1.0

    def mixed(
        self,
        own: Sequence[list[Feature]],
        others: Sequence[Sequence[Feature]],
        *,
        count: int,
        seeds: Sequence[tuple[int, ...]],
    ) -> Sequence[list[Feature]]:
        """Return a list an epoch: `own` in turn, each with another draw of what is learnt beside.

        `others` are the features of each corpus's `targets`; `count` is that of our sentences'
        features, each alone.
        """
        if not self.targets:
            return own
        wanted = round(self.share * count)
        return [
            own[epoch % len(own)] + drawn(others, wanted, (*seed, DRAW))
            for epoch, seed in enumerate(seeds)
        ]


def auxiliary_of(corpora: Sequence[Corpus], labels: LabelSet, share: float) -> Auxiliary:
    """Return what is learnt of `corpora` beside notes of the label set `labels`."""
    made = [_targets(corpus, number, labels) for number, corpus in enumerate(corpora, start=1)]
    return Auxiliary(
        targets=tuple(targets for targets, _ in made),
        layers=tuple(tag_counts(corpus.labels) for corpus in corpora),
        counts=tuple(counts for _, counts in made),
        share=share,
    )


def _targets(corpus: Corpus, number: int, labels: LabelSet) -> tuple[list[Target], dict[str, Any]]:
    """Return a corpus's sentences, read alone, without pairs; and counts of what they hold.

    The empty rows of pairs are as wide as those of `labels`, beside which they stand in a batch.
    """
    examples, data = examples_of(corpus.notes)
    targets, counts = gold_targets(examples, corpus.labels, max_pair_words=1)
    told = np.zeros((0, feature_count(labels)), dtype=np.float32)
    related = np.zeros((0, len(labels.relations)), dtype=np.float32)
    alone = [replace(one, pairs=[], told=told, related=related, corpus=number) for one in targets]
    kept = {name: counts[name] for name in ("widened", "overlapping")}
    return alone, {"labels": corpus.labels.name, **data, **kept}


def drawn(corpora: Sequence[Sequence[Feature]], count: int, seed: Sequence[int]) -> list[Feature]:
    """Return `count` features in equal parts; a corpus that has too few is gone through again."""
    chance = np.random.default_rng(seed)
    found: list[Feature] = []
    for i, features in enumerate(corpora):
        part = count * (i + 1) // len(corpora) - count * i // len(corpora)
        found += [features[k] for k in np.resize(chance.permutation(len(features)), part).tolist()]
    return found
