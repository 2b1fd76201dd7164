"""Temperatures that turn a model's shares into probabilities (arXiv 1706.04599).

They are fitted on notes that the model has not seen (`training/calibrating.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature for the tags of each layer, in order, and one for pairs; 1 changes nothing."""

    tags: tuple[float, ...]
    pairs: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON gives back as it is."""
        return {"tags": list(self.tags), "pairs": self.pairs}

    def of_tags(self, probabilities: np.ndarray, layers: Sequence[int]) -> np.ndarray:
        """Return calibrated ``[words, tags of all layers]``; rows of zeros stay as they are."""
        parts = np.split(probabilities, np.cumsum(layers)[:-1], axis=1)
        heated = [heat(part, one) for part, one in zip(parts, self.tags, strict=True)]
        return np.concatenate(heated, axis=1)

    def of_pairs(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of relations."""
        return heat(np.stack((scores, 1.0 - scores), axis=-1), self.pairs)[..., 0]


def heat(shares: np.ndarray, temperature: float) -> np.ndarray:
    """Return shares (last axis) to the power of 1/temperature, summing to one again."""
    if temperature == 1.0:
        return shares
    powers = np.where(shares > 0, shares, 0.0) ** (1.0 / temperature)
    return powers / np.maximum(powers.sum(axis=-1, keepdims=True), TINY)
