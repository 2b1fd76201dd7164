"""What a tagger's training starts from, and how fast each part of it learns."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from spanlake.config.train import DistilConfig, TaggerTrainConfig
from spanlake.core.labels import LabelSet
from spanlake.errors import ModelError
from spanlake.models.loading import MANIFEST, find_folder, missing_packages
from spanlake.models.network import load_checkpoint
from spanlake.models.tagger.folder import checked, load_module
from spanlake.models.tagger.module import OnePass, Shape
from spanlake.models.tagger.pair_features import feature_count
from spanlake.models.tagger.reader import tag_counts
from spanlake.models.tokenization import Pieces, pieces_of
from spanlake.training.learner import JointLearner

try:
    import transformers
except ImportError:
    raise missing_packages("train") from None

Config = TaggerTrainConfig | DistilConfig
LAYER = re.compile(r"\.(?:layer|layers|albert_layers|block|h)\.(\d+)\.")


def start_of(base: Path, labels: LabelSet, config: Config) -> tuple[OnePass, Pieces]:
    """Return what training starts from: an encoder with fresh heads, or a tagger as it is.

    Raises ModelError for a tagger of another label set.
    """
    if (base / MANIFEST).is_file():
        folder, module = checked(base, labels), load_module(base)
        _set_dropout(module, config.dropout)
        return module, folder.pieces()
    return OnePass(_backbone(base), shape_of(labels, config)), pieces_of(base)


def check_start(labels: LabelSet, config: Config) -> None:
    """Raise, as a training would, for a base that cannot be trained so."""
    start_of(find_folder(config.model), labels, config)


def _set_dropout(module: OnePass, share: float) -> None:
    """Set the heads' dropout; the backbone keeps its own, as with fresh heads."""
    module.shape = replace(module.shape, dropout=share)
    module.dropout.p = share
    if module.linker is not None:
        module.linker.dropout.p = share


def shape_of(labels: LabelSet, config: Config) -> Shape:
    """Return the heads' sizes for a label set."""
    return Shape(
        tags=tuple(tag_counts(labels)),
        relations=len(labels.relations),
        pair_features=feature_count(labels),
        dropout=config.dropout,
    )


def _backbone(base: Path) -> Any:
    """Load an encoder; raises ModelError when weights are missing."""
    backbone, missing = load_checkpoint(transformers.AutoModel, base)
    if missing:
        raise ModelError(f"{base}: no text encoder: no weights for {', '.join(missing[:4])}")
    return backbone


def parameter_groups(learner: JointLearner, config: Config) -> list[dict[str, Any]]:
    """Return AdamW's groups: heads at their own rate, each layer at `layer_decay` of the next.

    Biases and norms are not decayed.
    """
    depth = learner.module.backbone.config.num_hidden_layers
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in learner.named_parameters():
        rate = config.head_learning_rate
        if name.startswith("module.backbone."):
            match = LAYER.search(name)
            below = depth - 1 - int(match[1]) if match else depth * ("embed" in name)
            rate = config.learning_rate * config.layer_decay**below
        decay = 0.0 if parameter.ndim < 2 else config.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
