"""The linker's own training: it goes on learning on the finished model's states.

In the joint training it follows states that change with every step, and a tagger's few epochs are
not enough for it. By itself it costs one reading of the notes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spanlake.models.tagger.module import OnePass
from spanlake.training.datasets import Feature
from spanlake.training.joint import collate_joint

LEARNING_RATE = 1e-3
BATCH = 256  # pairs
# Of the states' numbers: the features say more of a pair, and the states know the notes by heart.
STATE_DROPOUT = 0.7
READ = 32  # sequences

Pairs = tuple[Tensor, Tensor, Tensor]  # states of the ends, features, truth


def relink(
    module: OnePass, features: Sequence[Feature], filler: int, *, epochs: int, seed: int
) -> list[float]:
    """Train the module's linker on, over states that no longer move; return losses by epoch."""
    pairs = _read(module, features, filler)
    if module.linker is None or not len(pairs[0]):
        return []
    torch.manual_seed(seed)
    linker = module.linker.train()
    optimizer = torch.optim.AdamW(linker.parameters(), lr=LEARNING_RATE)
    losses = [_epoch(linker, optimizer, pairs) for _ in range(epochs)]
    return losses


def _epoch(linker: nn.Module, optimizer: torch.optim.Optimizer, pairs: Pairs) -> float:
    total = 0.0
    for chosen in torch.randperm(len(pairs[0])).split(BATCH):
        ends, told, related = (part[chosen] for part in pairs)
        heads, tails = nn.functional.dropout(ends, STATE_DROPOUT).chunk(2, dim=1)
        scores = linker(heads, tails, told)
        loss = nn.functional.binary_cross_entropy_with_logits(scores, related)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(chosen)
    return round(total / len(pairs[0]), 5)


@torch.no_grad()
def _read(module: OnePass, features: Sequence[Feature], filler: int) -> Pairs:
    """Return ``[pairs, 4 * hidden]``, ``[pairs, features]`` and ``[pairs, relations]``."""
    where = next(module.parameters()).device
    module.eval()
    parts: list[Pairs] = []
    longest_first = sorted(features, key=lambda feature: -len(feature["input_ids"]))
    asked = [feature for feature in longest_first if len(feature["places"])]
    for i in range(0, len(asked), READ):
        batch = collate_joint(asked[i : i + READ], filler)
        _, states = module(batch["input_ids"].to(where), batch["attention_mask"].to(where))
        ends = states[batch["rows"][:, None], batch["places"]].flatten(1).float()
        parts.append((ends, batch["pair_features"].to(where), batch["related"].to(where)))
    if not parts:
        return torch.zeros(0), torch.zeros(0), torch.zeros(0)
    ends, told, related = (torch.cat(part) for part in zip(*parts, strict=True))
    return ends, told, related
