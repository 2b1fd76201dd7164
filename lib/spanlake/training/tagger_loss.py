"""The losses of a tagger: tags and pairs jointly, and then pairs alone for the relation head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, dropout

from spanlake.models.tagger.module import OnePass
from spanlake.training.features import Feature, collate

RELATION_LEARNING_RATE = 1e-3
PAIRS_PER_BATCH = 256
STATE_DROPOUT = 0.7  # the hidden states identify single training notes; the pair features do not
SEQUENCES_AT_ONCE = 32


class TaggerWithLoss(nn.Module):
    """The tagger with its loss: cross entropy of each layer's tags, plus that of the pairs.

    Each is a mean over the words or pairs of the batch; labels may be soft.
    """

    def __init__(self, module: OnePass) -> None:
        super().__init__()
        self.module = module

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the weights for a checkpoint: without a frozen base."""
        frozen = {name for name, p in self.named_parameters() if not p.requires_grad}
        state = super().state_dict(*args, **kwargs)
        return {name: weight for name, weight in state.items() if name not in frozen}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        tags: Tensor,
        pair_rows: Tensor,
        pair_positions: Tensor,
        pair_features: Tensor,
        pair_labels: Tensor,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch of `collate`."""
        logits, states = self.module(input_ids, attention_mask)
        labelled = tags.any(dim=-1)  # [batch, subwords]
        sizes = list(self.module.shape.tags)
        predicted = logits[labelled].split(sizes, -1)  # of each layer: [words, tags]
        layers = zip(predicted, tags[labelled].split(sizes, -1), strict=True)
        loss = torch.stack([cross_entropy(layer, target) for layer, target in layers]).sum()
        if self.module.linker is not None and len(pair_rows):
            ends = states[pair_rows[:, None], pair_positions].flatten(1)  # [pairs, 4 * hidden]
            scores = self.module.linker(*ends.chunk(2, dim=1), pair_features)
            loss = loss + binary_cross_entropy_with_logits(scores, pair_labels)
        return {"loss": loss}


def finetune_relation_head(
    module: OnePass, features: Sequence[Feature], pad_id: int, *, epochs: int, seed: int
) -> list[float]:
    """Train the relation head alone over the finished encoder; return the loss of each epoch.

    In the joint training its inputs change with every step, and the few epochs of a tagger are not
    enough for it. Alone it costs one pass over the notes.
    """
    if module.linker is None or not any(len(feature["pair_labels"]) for feature in features):
        return []
    ends, pair_features, labels = _encode_pairs(module, features, pad_id)
    torch.manual_seed(seed)
    head = module.linker.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=RELATION_LEARNING_RATE)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(ends)).split(PAIRS_PER_BATCH):
            heads, tails = dropout(ends[rows], STATE_DROPOUT).chunk(2, dim=1)
            scores = head(heads, tails, pair_features[rows])
            loss = binary_cross_entropy_with_logits(scores, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(round(total / len(ends), 5))
    return losses


@torch.no_grad()
def _encode_pairs(
    module: OnePass, features: Sequence[Feature], pad_id: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``[pairs, 4 * hidden]``, ``[pairs, features]`` and ``[pairs, relations]``."""
    device = next(module.parameters()).device
    module.eval()
    with_pairs = [feature for feature in features if len(feature["pair_labels"])]
    with_pairs.sort(key=lambda feature: -len(feature["input_ids"]))
    parts = []
    for i in range(0, len(with_pairs), SEQUENCES_AT_ONCE):
        batch = collate(with_pairs[i : i + SEQUENCES_AT_ONCE], pad_id)
        _, states = module(batch["input_ids"].to(device), batch["attention_mask"].to(device))
        ends = states[batch["pair_rows"][:, None], batch["pair_positions"]].flatten(1).float()
        parts.append((ends, batch["pair_features"].to(device), batch["pair_labels"].to(device)))
    ends, pair_features, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return ends, pair_features, labels
