"""The mean of the weights of several trainings from one start (a model soup, arXiv 2203.05482)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


def mean_state(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of weights; integer buffers are those of the first."""
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }
