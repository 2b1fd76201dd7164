"""The configuration of a tiny tagger that overfits a few sentences within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spanlake.config.extractors import ExtractorConfig, extractor_config
from spanlake.config.train import TaggerTrainConfig

WINDOWS = {"max_tokens": 32, "stride": 8}
OVERFIT: dict[str, Any] = {
    "learning_rate": 1e-2,
    "head_learning_rate": 1e-2,
    "dropout": 0.0,
    "max_tokens_per_batch": 64,
    **WINDOWS,
}


def tiny_config(base: Path | str, output_dir: Path, **options: Any) -> TaggerTrainConfig:
    """Return the configuration that trains `base` into `output_dir`."""
    values = {"model": str(base), "train_data": "notes", "output_dir": str(output_dir)}
    return TaggerTrainConfig.model_validate(values | OVERFIT | {"epochs": 30} | options)


def tagger_at(folder: Path | str, **options: Any) -> ExtractorConfig:
    """Return the configuration that reads with a tiny tagger."""
    values = {"kind": "tagger", "model": str(folder), **WINDOWS}
    return extractor_config(**(values | options))
