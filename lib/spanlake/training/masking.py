"""Masked-language modelling over notes: whole words are hidden, and only they are predicted."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spanlake.core.bio import words
from spanlake.core.types import Note
from spanlake.models.batching import pad
from spanlake.models.tokenization import Pieces
from spanlake.text.sentences import split
from spanlake.training.datasets import NO_LABEL, Feature
from spanlake.training.trainer import BatchTrainer

MASKED, KEPT = (
    0.8,
    0.1,
)  # of the chosen words; the rest are replaced by any piece (arXiv 1810.04805)


def masking_features(notes: Iterable[Note], pieces: Pieces, *, limit: int) -> list[Feature]:
    """Return the notes in runs of whole sentences of at most `limit` pieces.

    The tokenizer's closing special token stands for a newline. `word` numbers the word that each
    piece belongs to, -1 for special tokens.
    """
    features: list[Feature] = []
    for note in notes:
        run: list[list[int]] = []
        for part in _parts(note, pieces, limit):
            if run and sum(map(len, run)) + sum(map(len, part)) > limit:
                features.append(_feature(run, pieces))
                run = []
            run += part
        if run:
            features.append(_feature(run, pieces))
    return features


def _parts(note: Note, pieces: Pieces, limit: int) -> Iterator[list[list[int]]]:
    """Yield each sentence's words as piece ids, a long sentence in parts."""
    text, end = note.note_text, 0
    for sentence in split(text):
        span = sentence.span
        target = text[span.start : span.end]
        own = pieces.of(target[word.start : word.end] for word in words(target))
        fitting = [ids for ids in own if 0 < len(ids) < limit]
        if "\n" in text[end : span.start]:
            fitting.insert(0, list(pieces.after))
        end = span.end
        while fitting:
            room = list(accumulate(map(len, fitting)))
            taken = bisect_right(room, limit)
            yield fitting[:taken]
            fitting = fitting[taken:]


def _feature(run: Sequence[list[int]], pieces: Pieces) -> Feature:
    newline, first = list(pieces.after), len(pieces.before)
    ids = pieces.wrap([piece for own in run for piece in own])
    word = np.full(len(ids), -1, dtype=np.int64)
    numbers = [-1 if own == newline else i for i, own in enumerate(run)]
    sizes = [len(own) for own in run]
    word[first : first + sum(sizes)] = np.repeat(numbers, sizes)
    return {"input_ids": ids, "word": word}


class WordMasker:
    """Collates features and hides a share of their words, other ones at every call."""

    def __init__(self, *, mask: int, filler: int, vocabulary: int, share: float) -> None:
        self.mask, self.filler, self.vocabulary, self.share = mask, filler, vocabulary, share

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        padded, attention = pad([feature["input_ids"] for feature in features], self.filler)
        ids, words_of = torch.from_numpy(padded), torch.full(padded.shape, -1)
        for row, feature in enumerate(features):
            words_of[row, : len(feature["word"])] = torch.from_numpy(feature["word"])
        # One draw a word, the same for all its pieces.
        draws = torch.rand(len(features), int(words_of.max()) + 1)
        drawn = draws.gather(1, words_of.clamp(min=0)) / self.share
        hidden = (words_of >= 0) & (drawn < 1)
        labels = torch.where(hidden, ids, NO_LABEL)
        other = torch.randint(self.vocabulary, ids.shape)
        ids = torch.where(hidden & (drawn < MASKED), self.mask, ids)
        ids = torch.where(hidden & (drawn >= MASKED + KEPT), other, ids)
        return {
            "input_ids": ids,
            "attention_mask": torch.from_numpy(attention),
            "labels": labels,
        }


class MaskedTrainer(BatchTrainer):
    """Trains a masked-language model whose head reads the hidden pieces only: a sixth of its work.

    It learns without dropout: the text is read a few times at most, and a CPU is slow at drawing.
    """

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        """Return the mean loss over the pieces that have labels."""
        model.eval()
        labels = inputs["labels"]
        hidden = labels != NO_LABEL
        with self.accelerator.autocast():
            logits = _logits(model, inputs["input_ids"], inputs["attention_mask"], hidden)
        return nn.functional.cross_entropy(logits.float(), labels[hidden])


def _logits(model: Any, ids: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
    """Return ``[hidden pieces, vocabulary]``; only a head of one part can be given some pieces."""
    heads = [part for part in model.children() if part is not model.base_model]
    if len(heads) != 1:
        return model(input_ids=ids, attention_mask=mask).logits[hidden]
    return heads[0](model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[hidden])
