"""Batches of sequences of like length, in random order, other ones each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Sampler

POOL = 50  # batches that are sorted by length together: the rest of the order is chance


class ByEpoch(Dataset[Any]):
    """Other features in every epoch, more or fewer: `epochs` are read in turn.

    Feature i of epoch e has the number ``e * len + i``, where len is that of the longest.
    """

    def __init__(self, epochs: Sequence[Sequence[Any]]) -> None:
        self.epochs = epochs

    def __len__(self) -> int:
        return max(map(len, self.epochs))

    def __getitem__(self, number: int) -> Any:
        epoch, i = divmod(number, len(self))
        return self.epochs[epoch % len(self.epochs)][i]


class LengthBatches(Sampler[list[int]]):
    """Batches of about `tokens` padded tokens each, of numbers as `ByEpoch` understands them.

    `lengths` are those of one epoch after the other, and begin again when there are no more. Only
    inside a pool are sequences sorted, and the batches are shuffled afterwards: batches that
    follow one another by length make a classifier swing between what is short and what is long.
    Their number divides by `shares`: so many processes read them in turn.
    """

    def __init__(
        self,
        lengths: Sequence[Sequence[int]],
        tokens: int,
        *,
        seed: int,
        epochs: int,
        shares: int = 1,
    ) -> None:
        self.lengths = [np.asarray(epoch) for epoch in lengths]
        self.tokens = tokens
        self.seed = seed
        self.epoch = 0
        self.drop_last = False
        self.batch_size = None  # they differ
        self.pool = POOL * max(1, tokens // max(1, int(self.lengths[0].mean())))  # about
        # As many in every epoch: the Trainer counts those of the first and stops there.
        most = max(len(self._cut_all(epoch)) for epoch in range(epochs))
        self.count = most + -most % shares

    @property
    def sampler(self) -> LengthBatches:
        """Where older Accelerates look for `set_epoch` when several processes share the batches."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch's batches come next; called by Accelerate."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._cut_all(self.epoch)
        while len(batches) < self.count:
            widest = max(range(len(batches)), key=lambda i: len(batches[i]))
            batch = batches.pop(widest)
            half = (len(batch) + 1) // 2
            batches += [batch[:half], batch[half:] or batch]  # a last one is read twice
        order = np.random.default_rng([self.seed, self.epoch, 1]).permutation(len(batches))
        first = self.epoch * max(map(len, self.lengths))
        return iter([[first + i for i in batches[place]] for place in order])

    def _cut_all(self, epoch: int) -> list[list[int]]:
        lengths = self.lengths[epoch % len(self.lengths)]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(lengths))
        return [
            batch
            for start in range(0, len(order), self.pool)
            for batch in self._cut(order[start : start + self.pool], lengths)
        ]

    def _cut(self, pool: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
        batches: list[list[int]] = []
        longest = 0
        for i in sorted(pool.tolist(), key=lambda i: -lengths[i]):
            if not batches or (len(batches[-1]) + 1) * longest > self.tokens:
                batches.append([])
                longest = lengths[i]
            batches[-1].append(i)
        return batches
