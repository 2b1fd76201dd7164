"""Calibration of a tagger on notes that it has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from spanlake.core.labels import LabelSet
from spanlake.corpora import GoldNote
from spanlake.errors import DataError
from spanlake.models.tagger.calibration import TINY, Calibration, heat
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.reader import tag_counts
from spanlake.training.datasets import examples_of
from spanlake.training.joint import gold_targets, pair_truth

TEMPERATURES = 0.4 * 10 ** (np.arange(148) / 92)  # to 16, by 2.5 %: finer than notes can tell


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """What a tagger says of sentences, beside the truth of zeros and ones.

    `shares` and `tags` are ``[words, tags of all layers]``, without words that no model saw;
    `linked` and `related` ``[pairs, relations]`` among gold entities.
    """

    shares: np.ndarray
    tags: np.ndarray
    linked: np.ndarray
    related: np.ndarray


def observe(notes: Sequence[GoldNote], tagger: OnePassTagger) -> Observed:
    """Have `tagger` read the sentences of notes that it was not trained on."""
    examples, _ = examples_of(notes, tagger.context)
    most = tagger.config.max_pair_words
    targets, _ = gold_targets(examples, tagger.labels, max_pair_words=most)
    texts = tagger.read([example.unit for example in examples])
    scored = tagger.pair_scores(texts, [example.gold.entities for example in examples])
    related = [
        pair_truth(example, places, tagger.labels, Counter())
        for example, (places, _) in zip(examples, scored, strict=True)
    ]
    seen = np.concatenate([text.seen for text in texts])
    return Observed(
        np.concatenate([text.probabilities for text in texts])[seen],
        np.concatenate([target.tags for target in targets])[seen],
        np.concatenate([scores for _, scores in scored]),
        np.concatenate(related),
    )


def fit_calibration(observed: Sequence[Observed], labels: LabelSet) -> Calibration:
    """Return the temperatures under which the truth is most probable (arXiv 1706.04599).

    Raises DataError when there is nothing to fit them on.
    """
    if not observed:
        raise DataError("no notes to calibrate on")
    edges = np.cumsum(tag_counts(labels))[:-1]
    shares, tags, linked, related = (
        np.concatenate([getattr(one, field.name) for one in observed]) for field in fields(Observed)
    )
    layers = zip(np.split(shares, edges, 1), np.split(tags, edges, 1), strict=True)
    both = [np.stack((x.ravel(), 1.0 - x.ravel()), axis=-1) for x in (linked, related)]
    return Calibration(tuple(_temperature(*layer) for layer in layers), _temperature(*both))


def _temperature(shares: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature of the least negative log likelihood; 1 where there is nothing."""
    if not len(shares):
        return 1.0
    losses = [-np.log(heat(shares, t)[truth > 0.5] + TINY).mean() for t in TEMPERATURES]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 3)
