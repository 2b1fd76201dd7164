"""Pieces hidden from a tagger while it learns, so that it cannot know the notes by rare words.

Source: word dropout as in arXiv 1506.07285; hidden pieces are those of masked-language modelling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from spanlake.errors import ConfigError
from spanlake.models.tokenization import Pieces
from spanlake.training.joint import collate_joint

MASKS = ("[MASK]", "<mask>")


class HoleyBatches:
    """Collates features as `collate_joint` does, and hides `share` of the pieces of words.

    Raises ConfigError when there is a share to hide and the tokenizer has no mask.
    """

    def __init__(self, pieces: Pieces, share: float) -> None:
        known = [pieces.backend.token_to_id(name) for name in MASKS]
        found = [number for number in known if number is not None]
        if share and not found:
            raise ConfigError(f"piece_dropout needs a tokenizer with one of {', '.join(MASKS)}")
        self.filler, self.share, self.masks = pieces.pad, share, found
        self.spared = torch.tensor([*pieces.before, *pieces.after, pieces.pad])

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = collate_joint(features, self.filler)
        if self.share:
            ids = batch["input_ids"]
            hidden = (torch.rand(ids.shape) < self.share) & ~torch.isin(ids, self.spared)
            batch["input_ids"] = ids.masked_fill(hidden, self.masks[0])
        return batch
