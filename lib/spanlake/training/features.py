"""Labelled texts to batches: windows of subwords, and sentence packing.

Sentence packing joins consecutive sentences of a note to one training example, in other runs each
epoch. Every sentence is read once per epoch and every word is trained on; a window of neighbours
around each sentence would read each neighbour again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spanlake.models.batching import pad
from spanlake.models.tokenization import WordTokenizer
from spanlake.models.windows import context_tokens, cut, owners
from spanlake.training.examples import LabelledText

# input_ids; tags [subwords, tags]; pair_positions [pairs, 4], pair_features and pair_labels
Feature = dict[str, Any]
PAIR_ROWS = ("pair_positions", "pair_features", "pair_labels")


@dataclass(frozen=True, slots=True)
class SentenceWindows:
    """A sentence's windows, without special tokens, and the subwords of the gap before it.

    `gap` is None for the first sentence of a note.
    """

    windows: list[Feature]
    gap: list[int] | None = None


def cut_sentences(
    texts: Iterable[LabelledText], tokenizer: WordTokenizer, *, limit: int, stride: int
) -> list[SentenceWindows]:
    """Cut every text into windows of at most `limit` subwords."""
    return [
        SentenceWindows(
            list(_windows(text, tokenizer, limit, stride)),
            None if text.gap is None else context_tokens(text.gap, tokenizer),
        )
        for text in texts
    ]


def _windows(
    text: LabelledText, tokenizer: WordTokenizer, limit: int, stride: int
) -> Iterator[Feature]:
    """Yield the feature of each window.

    A word is labelled at one subword, in the window where the extractor reads it. A pair is
    in every window that holds the first and last words of head and tail.
    """
    text_cut = cut(text.text, text.words, tokenizer, limit=limit, stride=stride)
    owner = owners(text_cut.windows)
    ends = np.array(
        [(head[0], head[1] - 1, tail[0], tail[1] - 1) for head, tail in text.pairs], dtype=np.int64
    ).reshape(-1, 4)  # [pairs, first and last word of head and tail]
    for i, (first, last) in enumerate(text_cut.windows):
        sizes, places = text_cut.places((first, last))
        labelled = (owner[first:last] == i) & (sizes > 0)
        tags = np.zeros((sizes.sum(), text.tags.shape[1]), dtype=text.tags.dtype)
        tags[places[labelled]] = text.tags[first:last][labelled]
        inside = np.flatnonzero(((ends >= first) & (ends < last)).all(axis=1))
        inside = inside[(sizes[ends[inside] - first] > 0).all(axis=1)]
        yield {
            "input_ids": [piece for ids in text_cut.pieces[first:last] for piece in ids],
            "tags": tags,
            "pair_positions": places[ends[inside] - first].reshape(-1, 4),
            "pair_features": text.pair_features[inside],
            "pair_labels": text.pair_labels[inside],
        }


def pack_sentences(
    sentences: Iterable[SentenceWindows],
    tokenizer: WordTokenizer,
    *,
    limit: int,
    max_packed_sentences: int = 1,
    seed: Sequence[int] = (),
    read_twice: bool = False,
) -> list[Feature]:
    """Return the features of an epoch: sentences alone, or packed in runs that the seed draws.

    With `read_twice` each comes twice in a row, and is labelled the second time. Features without a
    labelled word are left out.
    """
    random = np.random.default_rng(seed)
    features = [
        _joined(run, tokenizer)
        for run in runs_of_sentences(sentences, max_packed_sentences, limit, random)
    ]
    if read_twice:
        features = [_twice(feature) for feature in features]
    return [feature for feature in features if feature["tags"].any()]


def _twice(feature: Feature) -> Feature:
    ids, tags = feature["input_ids"], feature["tags"]
    return {
        **feature,
        "input_ids": ids * 2,
        "tags": np.concatenate((np.zeros_like(tags), tags)),
        "pair_positions": feature["pair_positions"] + len(ids),
    }


def runs_of_sentences(
    sentences: Iterable[SentenceWindows], max_length: int, limit: int, random: np.random.Generator
) -> Iterator[list[SentenceWindows]]:
    """Yield runs of one to `max_length` consecutive sentences of at most `limit` subwords.

    A sentence is as likely in a run of one as in one of `max_length`, except at the ends of notes.
    Of a sentence of several windows each is a run of its own.
    """
    lengths = np.arange(1, max_length + 1)
    probabilities = 1 / lengths / (1 / lengths).sum()
    run: list[SentenceWindows] = []
    length = room = 0
    for sentence in sentences:
        size = sum(len(w["input_ids"]) for w in sentence.windows) + len(sentence.gap or ())
        is_whole = len(sentence.windows) == 1
        if run and (sentence.gap is None or not is_whole or len(run) == length or size > room):
            yield run
            run = []
        if not is_whole:
            yield from ([SentenceWindows([window])] for window in sentence.windows)
            continue
        if not run:
            length = int(random.choice(lengths, p=probabilities))
            room = limit + len(sentence.gap or ())
        run.append(sentence)
        room -= size
    if run:
        yield run


def _joined(run: Sequence[SentenceWindows], tokenizer: WordTokenizer) -> Feature:
    """Return the windows of a run as one feature, with special tokens around it."""
    features = [sentence.windows[0] for sentence in run]
    gaps = [tokenizer.before, *(sentence.gap or [] for sentence in run[1:])]
    ids: list[int] = []
    positions = []
    for gap, feature in zip(gaps, features, strict=True):
        positions.append(feature["pair_positions"] + len(ids) + len(gap))
        ids += [*gap, *feature["input_ids"]]
    ids += tokenizer.after
    tags = np.zeros((len(ids), features[0]["tags"].shape[1]), dtype=features[0]["tags"].dtype)
    end = 0
    for gap, feature in zip(gaps, features, strict=True):
        start, end = end + len(gap), end + len(gap) + len(feature["tags"])
        tags[start:end] = feature["tags"]
    rows = {name: np.concatenate([f[name] for f in features]) for name in PAIR_ROWS}
    return {"input_ids": ids, "tags": tags, **rows, "pair_positions": np.concatenate(positions)}


def collate(features: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, Tensor]:
    """Return a padded batch; `pair_rows` says which sequence each pair is of."""
    ids, mask = pad([feature["input_ids"] for feature in features], pad_id)
    tags = np.zeros((*ids.shape, features[0]["tags"].shape[1]), dtype=np.float32)
    for row, feature in enumerate(features):
        tags[row, : len(feature["tags"])] = feature["tags"]
    counts = [len(feature["pair_positions"]) for feature in features]
    batch = {
        "input_ids": ids,
        "attention_mask": mask,
        "tags": tags,
        "pair_rows": np.repeat(np.arange(len(features)), counts),
        **{name: np.concatenate([feature[name] for feature in features]) for name in PAIR_ROWS},
    }
    return {name: torch.from_numpy(values) for name, values in batch.items()}
