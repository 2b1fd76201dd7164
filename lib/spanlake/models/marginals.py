"""How probable a span or a whole reading is, among all legal tag sequences (forward-backward).

A word's tags are independent of its neighbours' but for what may follow what: a linear chain whose
transitions are 0 or 1 (arXiv 1011.4088, section 2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TINY = 1e-30  # no tag is impossible, or a text could have no legal reading


class LegalTags:
    """The distribution over legal tag sequences of a text.

    `shares` is ``[words, tags]``, what a model gives each word's tags; ``allowed[s, t]`` is 1 where
    tag `t` may follow tag `s`, else 0. Tag 0 stands before the first word.
    """

    def __init__(self, shares: np.ndarray, allowed: np.ndarray) -> None:
        self.shares, self.allowed = shares.astype(np.float64) + TINY, allowed
        count, tags = shares.shape
        # forward[w]: of word w - 1's tag given the words up to it; backward[w] completes it.
        self.forward = np.zeros((count + 1, tags))
        self.forward[0, 0] = 1.0
        self.scale = np.ones(count)
        for word in range(count):
            reached = (self.forward[word] @ allowed) * self.shares[word]
            self.scale[word] = reached.sum()
            self.forward[word + 1] = reached / self.scale[word]
        self.backward = np.ones((count + 1, tags))
        for word in range(count - 1, -1, -1):
            ahead = self.shares[word] * self.backward[word + 1]
            self.backward[word] = allowed @ ahead / self.scale[word]

    def sequence(self, tags: Sequence[int]) -> float:
        """Return the probability of one legal sequence, a tag a word."""
        chosen = self.shares[np.arange(len(tags)), list(tags)] / self.scale
        return float(np.exp(np.log(chosen).sum()))

    def span(self, first: int, last: int, begin: int, inside: int) -> float:
        """Return the probability that words `first` to `last` - 1, and no more, are one span.

        `begin` and `inside` are the tags of its first word and of those that follow.
        """
        tags = [begin] + [inside] * (last - first - 1)
        chosen = self.shares[np.arange(first, last), tags] / self.scale[first:last]
        before = self.forward[first] @ self.allowed[:, begin]
        return float(before * chosen.prod() * self._ends(last, tags[-1], inside))

    def _ends(self, word: int, tag: int, inside: int) -> float:
        """Return the factor of what comes after a span's last tag, which does not go on."""
        if word == len(self.shares):
            return 1.0
        ahead = self.allowed[tag] * self.shares[word] * self.backward[word + 1] / self.scale[word]
        return float(ahead.sum() - ahead[inside])
