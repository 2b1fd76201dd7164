"""Batches of sequences of like length, in random order, other ones each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

POOL = 50  # batches that are sorted by length together: the rest of the order is chance


class LengthBatches(Sampler[list[int]]):
    """Batches of about `tokens` padded tokens each.

    Only inside a pool are sequences sorted, and the batches are shuffled afterwards: batches that
    follow one another by length make a classifier swing between what is short and what is long.
    """

    def __init__(self, lengths: Sequence[int], tokens: int, *, seed: int, epochs: int) -> None:
        self.lengths = np.asarray(lengths)
        self.tokens = tokens
        self.seed = seed
        self.epoch = 0
        self.drop_last = False
        self.batch_size = max(1, tokens // max(1, int(self.lengths.mean())))  # about
        # As many in every epoch: the Trainer counts those of the first and stops there.
        self.count = max(len(self._cut_all(epoch)) for epoch in range(epochs))

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
            batches += [batch[:half], batch[half:]]
        order = np.random.default_rng([self.seed, self.epoch, 1]).permutation(len(batches))
        return iter([batches[i] for i in order])

    def _cut_all(self, epoch: int) -> list[list[int]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.lengths))
        pool = POOL * self.batch_size
        return [
            batch
            for start in range(0, len(order), pool)
            for batch in self._cut(order[start : start + pool])
        ]

    def _cut(self, pool: np.ndarray) -> list[list[int]]:
        batches: list[list[int]] = []
        longest = 0
        for i in sorted(pool.tolist(), key=lambda i: -self.lengths[i]):
            if not batches or (len(batches[-1]) + 1) * longest > self.tokens:
                batches.append([])
                longest = self.lengths[i]
            batches[-1].append(i)
        return batches
