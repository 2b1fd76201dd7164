"""How a tiny tagger learns a few sentences by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spanlake.config.train import TaggerTrainConfig

RATES: dict[str, Any] = {
    "learning_rate": 1e-2,
    "head_learning_rate": 1e-2,
    "max_tokens": 32,
    "stride": 8,
    "dropout": 0.0,
}


def tiny_recipe(base: Path, to: Path, **options: Any) -> TaggerTrainConfig:
    """Return the recipe that trains `base` into `to`, other `options` first."""
    values = {"kind": "tagger", "model": str(base), "train": "notes", "to": str(to)}
    return TaggerTrainConfig.model_validate(
        values | RATES | {"epochs": 30, "batch_tokens": 64} | options
    )
