"""The one-pass tagger with its loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spanlake.models.tagger.module import OnePass


class JointLearner(nn.Module):
    """The tagger with its loss: cross entropy of each layer's tags, plus that of the pairs.

    Each is a mean over the words or pairs of the batch; targets may be soft.
    """

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
        learnt = tags.any(dim=-1)  # [batch, pieces]
        sizes = list(self.module.shape.tags)
        layers = zip(logits[learnt].split(sizes, -1), tags[learnt].split(sizes, -1), strict=True)
        losses = [nn.functional.cross_entropy(part, target) for part, target in layers]
        if self.module.linker is not None and len(rows):
            ends = states[rows[:, None], places].flatten(1)  # [pairs, 4 * hidden]
            heads, tails = ends.chunk(2, dim=1)
            scores = self.module.linker(heads, tails, pair_features)
            losses.append(nn.functional.binary_cross_entropy_with_logits(scores, related))
        return {"loss": torch.stack(losses).sum()}
