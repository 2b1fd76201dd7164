"""The one-pass tagger with its loss, and with what is learnt beside it and left behind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spanlake.models.tagger.module import OnePass

KNOWN = 0.5  # of the time a sequence's annotators are told: a reader is never told


class JointLearner(nn.Module):
    """The tagger with its loss: cross entropy of each layer's tags, plus that of the pairs.

    Each is a mean over the words or pairs of the batch; targets may be soft. Two things are learnt
    beside the tagger and left behind afterwards. With `annotators`, the ways of that many groups of
    annotators, apart from what they agree on: a scale and a shift of the states by group, hidden
    half of the time. With `auxiliary`, the tags of each layer of other corpora, by a head for each.
    """

    def __init__(
        self, module: OnePass, annotators: int = 0, auxiliary: Sequence[Sequence[int]] = ()
    ) -> None:
        super().__init__()
        self.module = module
        hidden = module.backbone.config.hidden_size
        self.ways = None
        if annotators:
            self.ways = nn.Embedding(annotators + 1, 2 * hidden, padding_idx=0)
            nn.init.zeros_(self.ways.weight)
        self.layers = [list(module.shape.tags), *(list(tags) for tags in auxiliary)]
        self.heads = nn.ModuleList(nn.Linear(hidden, sum(tags)) for tags in auxiliary)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        tags: Tensor,
        annotators: Tensor,
        corpora: Tensor,
        rows: Tensor,
        places: Tensor,
        pair_features: Tensor,
        related: Tensor,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch of `collate_joint`."""
        states = self.module.states(input_ids, attention_mask)
        losses = self._tag_losses(states, tags, annotators, corpora)
        if self.module.linker is not None and len(rows):
            ends = states[rows[:, None], places].flatten(1)  # [pairs, 4 * hidden]
            heads, tails = ends.chunk(2, dim=1)
            scores = self.module.linker(heads, tails, pair_features)
            losses.append(nn.functional.binary_cross_entropy_with_logits(scores, related))
        return {"loss": torch.stack(losses).sum()}

    def _tag_losses(
        self, states: Tensor, tags: Tensor, annotators: Tensor, corpora: Tensor
    ) -> list[Tensor]:
        """Return a loss for every layer of every corpus that has words in the batch."""
        learnt = tags.any(dim=-1)
        losses = []
        for number, layers in enumerate(self.layers):
            own = learnt & (corpora == number)[:, None]  # [batch, pieces]
            if not own.any():  # no words, no mean
                continue
            logits = self._logits(number, states, annotators, own)
            targets = tags[own][:, : sum(layers)]
            parts = zip(logits.split(layers, -1), targets.split(layers, -1), strict=True)
            losses += [nn.functional.cross_entropy(part, target) for part, target in parts]
        return losses

    def _logits(self, number: int, states: Tensor, annotators: Tensor, own: Tensor) -> Tensor:
        """Return ``[words, tags]`` of corpus `number` at its `own` words."""
        if number == 0:
            return self.module.tag(self._annotated(states, annotators))[own]
        return self.heads[number - 1](self.module.dropout(states[own]))

    def _annotated(self, states: Tensor, annotators: Tensor) -> Tensor:
        """Return the states as the annotators of each sequence would have them."""
        if self.ways is None:
            return states
        known = torch.rand(annotators.shape, device=annotators.device) < KNOWN
        scale, shift = self.ways(annotators * known)[:, None].chunk(2, dim=-1)
        return states * (1 + scale) + shift
