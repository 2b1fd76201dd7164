"""What the one-pass tagger learns from: windows with the tags of both layers and their pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spanlake.core.bio import encode, tag_names, words
from spanlake.core.labels import LAYERS, LabelSet
from spanlake.core.spans import Span
from spanlake.models.batching import pad
from spanlake.models.pairs import candidates
from spanlake.models.pieces import Pieces
from spanlake.models.tagger.module import OnePass
from spanlake.models.tagger.pair_features import pair_features, word_spans
from spanlake.models.windows import Cut, cut, owners
from spanlake.training.datasets import NO_LABEL, Example, Feature


def joint_features(
    examples: Iterable[Example],
    pieces: Pieces,
    labels: LabelSet,
    *,
    limit: int,
    stride: int,
    max_pair_words: int,
) -> tuple[list[Feature], Counter[str]]:
    """Return a feature for every window of every example.

    `tags` is ``[pieces, layers]``, at each word's first piece in the window that owns the word;
    `places` ``[pairs, 4]``: the pieces where head and tail begin, and where their last words do.
    Counts what was widened to words or left out, and pairs.
    """
    features: list[Feature] = []
    counts: Counter[str] = Counter()
    for example in examples:
        spans = words(example.text)
        one = cut(example.text, spans, pieces, limit=limit, stride=stride)
        tags = _tags(example, spans, labels, counts)
        pairs = _pairs(example, spans, labels, max_pair_words, counts)
        owner = owners(one.windows)
        for i, window in enumerate(one.windows):
            feature = _feature(one, window, tags, owner == i, pairs, pieces)
            if (feature["tags"] == NO_LABEL).all():
                counts["windows_without_words"] += 1
            else:
                features.append(feature)
    return features, counts


def _tags(
    example: Example, spans: Sequence[Span], labels: LabelSet, counts: Counter[str]
) -> np.ndarray:
    """Return ``[words, layers]`` tag numbers."""
    columns = []
    for layer in LAYERS:
        wanted = labels.labels_of(layer)
        if not wanted:
            continue
        number = {tag: i for i, tag in enumerate(tag_names(wanted))}
        encoded = encode(spans, example.gold.entities, wanted)
        counts["widened"] += encoded.widened
        counts["overlapping"] += encoded.left_out
        columns.append([number[tag] for tag in encoded.tags])
    return np.array(columns, dtype=np.int64).T


Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # word places, features, related


def _pairs(
    example: Example, spans: Sequence[Span], labels: LabelSet, most: int, counts: Counter[str]
) -> Pairs:
    """Return ``[pairs, 4]`` words, ``[pairs, features]`` and ``[pairs, relations]`` ones."""
    entities = example.gold.entities
    asked = candidates(spans, entities, labels, most) if labels.relations else []
    covered = word_spans(spans, entities)
    places = [(*covered[head], *covered[tail]) for head, tail in asked]
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
    # the last word itself, not one past it
    words_of = np.array(places, dtype=np.int64).reshape(-1, 4) - np.array([0, 1, 0, 1])
    return words_of, pair_features(example.text, spans, entities, asked, labels), related


def _feature(
    one: Cut, window: tuple[int, int], tags: np.ndarray, own: np.ndarray, pairs: Pairs, p: Pieces
) -> Feature:
    first, last = window
    sizes = np.array([len(ids) for ids in one.pieces[first:last]])
    starts = np.cumsum(sizes) - sizes + len(p.before)
    ids = p.wrap([piece for ids in one.pieces[first:last] for piece in ids])
    targets = np.full((len(ids), tags.shape[1]), NO_LABEL, dtype=np.int64)
    learnt = own[first:last] & (sizes > 0)
    targets[starts[learnt]] = tags[first:last][learnt]
    places, told, related = pairs
    inside = np.flatnonzero(((places >= first) & (places < last)).all(axis=1))
    inside = inside[(sizes[places[inside] - first] > 0).all(axis=1)]
    return {
        "input_ids": ids,
        "tags": targets,
        "places": starts[places[inside] - first].reshape(-1, 4),
        "pair_features": told[inside],
        "related": related[inside],
    }


def collate_joint(features: Sequence[Mapping[str, Any]], filler: int) -> dict[str, Tensor]:
    """Return a padded batch; pairs of all sequences stand one after another, `rows` says whose."""
    ids, mask = pad([feature["input_ids"] for feature in features], filler)
    tags = np.full((*ids.shape, features[0]["tags"].shape[1]), NO_LABEL, dtype=np.int64)
    for row, feature in enumerate(features):
        tags[row, : len(feature["tags"])] = feature["tags"]
    rows = np.repeat(np.arange(len(features)), [len(feature["places"]) for feature in features])
    joined = {
        name: np.concatenate([feature[name] for feature in features])
        for name in ("places", "pair_features", "related")
    }
    batch = {"input_ids": ids, "attention_mask": mask, "tags": tags, "rows": rows, **joined}
    return {name: torch.from_numpy(values) for name, values in batch.items()}


class JointLearner(nn.Module):
    """The tagger with its loss: the mean over the layers' tags, plus that over the pairs."""

    def __init__(self, module: OnePass) -> None:
        super().__init__()
        self.module = module

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        tags: Tensor,
        rows: Tensor,
        places: Tensor,
        pair_features: Tensor,
        related: Tensor,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch of `collate_joint`."""
        logits, states = self.module(input_ids, attention_mask)
        layers = [size for size in self.module.shape.tags if size]
        losses = [
            nn.functional.cross_entropy(
                part.flatten(0, 1), tags[..., i].flatten(), ignore_index=NO_LABEL
            )
            for i, part in enumerate(logits.split(layers, dim=-1))
        ]
        if self.module.linker is not None and len(rows):
            ends = states[rows[:, None], places].flatten(1)  # [pairs, 4 * hidden]
            heads, tails = ends.chunk(2, dim=1)
            scores = self.module.linker(heads, tails, pair_features)
            losses.append(nn.functional.binary_cross_entropy_with_logits(scores, related))
        return {"loss": torch.stack(losses).sum()}
