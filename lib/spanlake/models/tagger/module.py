"""The one-pass tagger as a torch module: what is trained, and what runs on a GPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spanlake.models.loading import missing_packages

try:
    from torch import Tensor, nn
except ImportError:
    raise missing_packages() from None

PAIR_WIDTH = 128


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything about the module that the backbone's own configuration does not say.

    `tags` counts the BIO tags of each layer, `relations` the relation labels.
    """

    tags: tuple[int, ...]
    relations: int
    pair_features: int
    dropout: float = 0.1

    as_dict = asdict


class PairScorer(nn.Module):
    """Scores (head, tail) pairs from both spans' vectors and `pair_features`; logits come out."""

    def __init__(self, hidden: int, shape: Shape) -> None:
        super().__init__()
        self.head = nn.Linear(2 * hidden, PAIR_WIDTH)
        self.tail = nn.Linear(2 * hidden, PAIR_WIDTH, bias=False)
        self.features = nn.Linear(shape.pair_features, PAIR_WIDTH, bias=False)
        self.dropout = nn.Dropout(shape.dropout)
        self.out = nn.Linear(PAIR_WIDTH, shape.relations)

    def forward(self, heads: Tensor, tails: Tensor, features: Tensor) -> Tensor:
        """Map ``[pairs, 2 * hidden]`` twice and ``[pairs, features]`` to ``[pairs, relations]``.

        A span's vector is its first word's state beside its last word's.
        """
        joined = self.head(heads) + self.tail(tails) + self.features(features)
        return self.out(self.dropout(nn.functional.gelu(joined)))


class OnePass(nn.Module):
    """A backbone with a BIO head a layer, and the scorer of pairs over the same hidden states."""

    def __init__(self, backbone: Any, shape: Shape) -> None:
        super().__init__()
        if getattr(backbone, "pooler", None) is not None:
            backbone.pooler = None  # nothing reads it
        self.backbone = backbone
        self.shape = shape
        hidden = backbone.config.hidden_size
        self.dropout = nn.Dropout(shape.dropout)
        self.tags = nn.Linear(hidden, sum(shape.tags))
        self.linker = PairScorer(hidden, shape) if shape.relations else None

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map ``[batch, pieces]`` to ``[batch, pieces, tags of all layers]`` and hidden states."""
        states = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state  # [batch, pieces, hidden]
        return self.tags(self.dropout(states)), states
