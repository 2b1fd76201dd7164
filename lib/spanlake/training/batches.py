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

    def __init__(self, lengths: Sequence[int], tokens: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.tokens = tokens
        self.seed = seed
        self.epoch = 0
        self.drop_last = False
        self.batch_size = max(1, tokens // max(1, int(self.lengths.mean())))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch's batches come next; called by Accelerate."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches()

    def _batches(self) -> list[list[int]]:
        chance = np.random.default_rng([self.seed, self.epoch])
        order = chance.permutation(len(self.lengths))
        pool = POOL * self.batch_size
        batches = [
            batch
            for start in range(0, len(order), pool)
            for batch in self._cut(order[start : start + pool])
        ]
        return [batches[i] for i in chance.permutation(len(batches))]

    def _cut(self, pool: np.ndarray) -> list[list[int]]:
        batches: list[list[int]] = []
        longest = 0
        for i in sorted(pool.tolist(), key=lambda i: -self.lengths[i]):
            if not batches or (len(batches[-1]) + 1) * longest > self.tokens:
                batches.append([])
                longest = self.lengths[i]
            batches[-1].append(i)
        return batches
