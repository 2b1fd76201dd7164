"""What the one-pass tagger learns from: windows with the tags of both layers and their pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spanlake.core.bio import encode, tag_names, words
from spanlake.core.labels import LAYERS, LabelSet
from spanlake.core.types import Span
from spanlake.models.batching import pad
from spanlake.models.pairs import candidates
from spanlake.models.surroundings import pieces_between
from spanlake.models.tagger.pair_features import WordSpan, pair_features, word_spans
from spanlake.models.tokenization import Pieces
from spanlake.models.windows import Cut, cut, owners
from spanlake.training.datasets import Example, Feature
from spanlake.training.together import Part, joined, runs


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A text with what a model should say of it; all rows are probabilities.

    `tags` is ``[words, tags of all layers]``, a distribution a layer; `pairs` the words of heads
    and tails, `told` their ``[pairs, features]``, `related` their ``[pairs, relations]``.
    `gap` is as an `Example`'s.
    """

    text: str
    words: list[Span]
    tags: np.ndarray
    pairs: list[tuple[WordSpan, WordSpan]]
    told: np.ndarray
    related: np.ndarray
    gap: str | None = None


def gold_targets(
    examples: Iterable[Example], labels: LabelSet, *, max_pair_words: int
) -> tuple[list[Target], Counter[str]]:
    """Return what the gold says, and counts of what was widened to words or left out, and pairs."""
    counts: Counter[str] = Counter()
    return [_gold_target(one, labels, max_pair_words, counts) for one in examples], counts


def _gold_target(example: Example, labels: LabelSet, most: int, counts: Counter[str]) -> Target:
    text, entities = example.text, example.gold.entities
    spans = words(text)
    covered = word_spans(spans, entities)
    asked = [
        (head, tail)
        for head, tail in (candidates(spans, entities, labels, most) if labels.relations else [])
        if _has_words(covered[head]) and _has_words(covered[tail])
    ]
    return Target(
        text,
        spans,
        _tags(example, spans, labels, counts),
        [(covered[head], covered[tail]) for head, tail in asked],
        pair_features(text, spans, entities, asked, labels),
        pair_truth(example, asked, labels, counts),
        gap=example.gap,
    )


def _has_words(span: WordSpan) -> bool:
    return span[0] < span[1]  # white space has none


def _tags(
    example: Example, spans: Sequence[Span], labels: LabelSet, counts: Counter[str]
) -> np.ndarray:
    """Return ``[words, tags of all layers]`` ones and zeros."""
    layers = []
    for layer in LAYERS:
        wanted = labels.labels_of(layer)
        if not wanted:
            continue
        names = tag_names(wanted)
        encoded = encode(spans, example.gold.entities, wanted)
        counts["widened"] += encoded.widened
        counts["overlapping"] += encoded.left_out
        numbers = [names.index(tag) for tag in encoded.tags]
        layers.append(np.eye(len(names), dtype=np.float32)[numbers])
    return np.concatenate(layers, axis=1)


def pair_truth(
    example: Example, asked: Sequence[tuple[int, int]], labels: LabelSet, counts: Counter[str]
) -> np.ndarray:
    """Return ``[pairs, relations]`` ones and zeros of the pairs of entities that are `asked`."""
    names = list(labels.relations)
    related = np.zeros((len(asked), len(names)), dtype=np.float32)
    position = {pair: i for i, pair in enumerate(asked)}
    for relation in example.gold.relations:
        pair = (relation.head, relation.tail)
        counts["relations_no_candidate"] += pair not in position
        if pair in position:
            related[position[pair], names.index(relation.label)] = 1.0
    counts["pairs"] += len(asked)
    counts["pairs_related"] += int(related.any(axis=1).sum())
    return related


def joint_features(
    parts: Iterable[Part], pieces: Pieces, *, limit: int, most: int = 1, seed: Sequence[int] = ()
) -> list[Feature]:
    """Return a feature for every window of every part of `parts_of` that owns a word.

    Up to `most` parts that follow one another in a note are read as one, by chance (`runs`).

    `tags` is ``[pieces, tags]``, a row at each word's first piece in the window that owns the
    word, zeros elsewhere; `places` ``[pairs, 4]``: the pieces where head and tail begin, and where
    their last words do.
    """
    features = [
        joined(run, pieces) for run in runs(parts, most, limit, np.random.default_rng(seed))
    ]
    return [feature for feature in features if feature["tags"].any()]


def parts_of(targets: Iterable[Target], pieces: Pieces, *, limit: int, stride: int) -> list[Part]:
    """Return every target cut into windows: what `joint_features` joins, other ones each epoch."""
    return [_part(target, pieces, limit, stride) for target in targets]


def _part(target: Target, pieces: Pieces, limit: int, stride: int) -> Part:
    one = cut(target.text, target.words, pieces, limit=limit, stride=stride)
    owner = owners(one.windows)
    windows = [_feature(one, i, ids, owner == i, target) for i, ids in enumerate(one.sequences())]
    return Part(windows, None if target.gap is None else pieces_between(target.gap, pieces))


def _feature(one: Cut, number: int, ids: list[int], own: np.ndarray, target: Target) -> Feature:
    """Return the feature of a window of pieces `ids`, without special pieces around it."""
    first, last = one.windows[number]
    sizes = np.array([len(word) for word in one.pieces[first:last]])
    starts = np.cumsum(sizes) - sizes
    tags = np.zeros((len(ids), target.tags.shape[1]), dtype=target.tags.dtype)
    learnt = own[first:last] & (sizes > 0)
    tags[starts[learnt]] = target.tags[first:last][learnt]
    places = _ends(target.pairs)
    inside = np.flatnonzero(((places >= first) & (places < last)).all(axis=1))
    inside = inside[(sizes[places[inside] - first] > 0).all(axis=1)]
    return {
        "input_ids": ids,
        "tags": tags,
        "places": starts[places[inside] - first].reshape(-1, 4),
        "pair_features": target.told[inside],
        "related": target.related[inside],
    }


def _ends(pairs: Sequence[tuple[WordSpan, WordSpan]]) -> np.ndarray:
    """Return ``[pairs, 4]``: first and last word of head and tail."""
    return np.array(
        [(head[0], head[1] - 1, tail[0], tail[1] - 1) for head, tail in pairs], dtype=np.int64
    ).reshape(-1, 4)


def collate_joint(features: Sequence[Mapping[str, Any]], filler: int) -> dict[str, Tensor]:
    """Return a padded batch; pairs of all sequences stand one after another, `rows` says whose."""
    ids, mask = pad([feature["input_ids"] for feature in features], filler)
    tags = np.zeros((*ids.shape, features[0]["tags"].shape[1]), dtype=np.float32)
    for row, feature in enumerate(features):
        tags[row, : len(feature["tags"])] = feature["tags"]
    rows = np.repeat(np.arange(len(features)), [len(feature["places"]) for feature in features])
    joined = {
        name: np.concatenate([feature[name] for feature in features])
        for name in ("places", "pair_features", "related")
    }
    batch = {
        "input_ids": ids,
        "attention_mask": mask,
        "tags": tags,
        "rows": rows,
        **joined,
    }
    return {name: torch.from_numpy(values) for name, values in batch.items()}
