"""Training of the one-pass tagger: one model folder, taken up where it was killed."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spanlake.core.bio import tag_names
from spanlake.core.config import ExtractorConfig
from spanlake.core.corpora import GoldNote
from spanlake.core.errors import ConfigError, DataError, ModelError
from spanlake.core.labels import LAYERS, LabelSet, load_labels
from spanlake.core.train_config import TaggerTrainConfig
from spanlake.models.loading import find_folder, missing_packages, read_manifest
from spanlake.models.network import load_checkpoint, most_pieces
from spanlake.models.pieces import checkpoint_tokenizer, pieces_of
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.folder import KIND, save
from spanlake.models.tagger.module import OnePass, Shape
from spanlake.models.tagger.pair_features import feature_count
from spanlake.training.averaging import AVERAGE, WeightAverage
from spanlake.training.datasets import Feature, examples_of
from spanlake.training.evaluation import strict_scores
from spanlake.training.joint import JointLearner, collate_joint, joint_features
from spanlake.training.recipe import (
    METRICS,
    WORK,
    is_finished,
    prepare,
    recipe_of,
    uses_bf16,
    write_json,
)
from spanlake.training.trainer import BatchTrainer, arguments_of, last_checkpoint, metrics_of

try:
    import torch
    import transformers
except ImportError:
    raise missing_packages("train") from None

LAYER = re.compile(r"\.(?:layer|layers|albert_layers|block|h)\.(\d+)\.")

log = logging.getLogger(__name__)


def train_tagger(
    notes: Sequence[GoldNote], dev: Sequence[GoldNote], config: TaggerTrainConfig
) -> dict[str, Any]:
    """Train a tagger on `notes` into the folder `config.to`; return its metrics.

    metrics.json gets the same, with the finished extractor's scores on `dev`, on which nothing is
    chosen. A finished folder of the same recipe is left as it is, unless `config.resume` is false.
    """
    labels, top = load_labels(config.labels), Path(config.to)
    recipe = recipe_of(notes, labels, config)
    if config.resume and is_finished(top, KIND, recipe):
        log.info("%s: already trained by this recipe", top)
    else:
        prepare(top, recipe, (), resume=config.resume)
        _fit(notes, labels, config, recipe)
        shutil.rmtree(top / WORK)
    metrics = dict(read_manifest(top, KIND)["training"])
    metrics["dev"] = strict_scores(dev, OnePassTagger(extractor_config(config))) if dev else None
    write_json(top / METRICS, metrics)
    return metrics


def extractor_config(config: TaggerTrainConfig) -> ExtractorConfig:
    """Return how the model that `config` trains is read with."""
    shared = config.model_dump(include={"labels", "max_tokens", "stride", "max_pair_words"})
    return ExtractorConfig.model_validate({"kind": KIND, "model": config.to, **shared})


def _fit(
    notes: Sequence[GoldNote], labels: LabelSet, config: TaggerTrainConfig, recipe: dict[str, Any]
) -> None:
    base, top = find_folder(config.model), Path(config.to)
    transformers.set_seed(config.seed)  # the fresh heads are drawn here
    module = OnePass(_backbone(base, config), shape_of(labels, config))
    pieces = pieces_of(base)
    limit = most_pieces(module.backbone, pieces, config.max_tokens)
    options = {"limit": limit, "stride": config.stride, "max_pair_words": config.max_pair_words}
    examples, data = examples_of(notes)
    features, counts = joint_features(examples, pieces, labels, **options)
    metrics = _train(module, features, pieces.pad, config, top / WORK)
    training = {"recipe": recipe, **metrics, **counts, "data": dict(data)}
    details = {"longest": limit + pieces.specials, "training": training}
    save(module, checkpoint_tokenizer(base), labels, top, details)


def shape_of(labels: LabelSet, config: TaggerTrainConfig) -> Shape:
    """Return the heads' sizes for a label set."""
    return Shape(
        tags=tuple(
            len(tag_names(labels.labels_of(layer))) for layer in LAYERS if labels.labels_of(layer)
        ),
        relations=len(labels.relations),
        pair_features=feature_count(labels),
        mixed_layers=config.mixed_layers,
        dropout=config.dropout,
    )


def _backbone(base: Path, config: TaggerTrainConfig) -> Any:
    """Load an encoder; raises ModelError when weights are missing, ConfigError for its depth."""
    backbone, missing = load_checkpoint(transformers.AutoModel, base)
    if missing:
        raise ModelError(f"{base}: no text encoder: no weights for {', '.join(missing[:4])}")
    depth = backbone.config.num_hidden_layers
    if config.mixed_layers > depth:
        raise ConfigError(f"mixed_layers is {config.mixed_layers}, the model has {depth} layers")
    return backbone


def _train(
    module: OnePass, features: list[Feature], filler: int, config: TaggerTrainConfig, work: Path
) -> dict[str, Any]:
    if not features:
        raise DataError("the notes hold nothing to train on")
    began = time.monotonic()
    learner = JointLearner(module)
    average = WeightAverage(module, config.weight_average)
    trainer = BatchTrainer(
        model=learner,
        args=_arguments(config, work),
        data_collator=partial(collate_joint, filler=filler),
        train_dataset=features,
        callbacks=[average],
        optimizers=(torch.optim.AdamW(parameter_groups(module, config)), None),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(work, AVERAGE))
    module.load_state_dict(average.state())
    return metrics_of(trainer, began)


def parameter_groups(module: OnePass, config: TaggerTrainConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups: heads at their own rate, each layer at `layer_decay` of the next.

    Biases and norms are not decayed.
    """
    depth = module.backbone.config.num_hidden_layers
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in module.named_parameters():
        rate = config.head_learning_rate
        if name.startswith("backbone."):
            match = LAYER.search(name)
            below = depth - 1 - int(match[1]) if match else depth * ("embed" in name)
            rate = config.learning_rate * config.layer_decay**below
        decay = 0.0 if parameter.ndim < 2 else config.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _arguments(config: TaggerTrainConfig, work: Path) -> transformers.TrainingArguments:
    arguments = arguments_of(
        work,
        bf16=uses_bf16(config),
        seed=config.seed,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_tokens,  # what BatchTrainer cuts batches by
        learning_rate=config.learning_rate,
        save_total_limit=2,  # the older one stays until the newer one has its average
    )
    if arguments.world_size > 1:
        raise ConfigError("the tagger is trained by one process: start it without torchrun")
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel would cut the pairs from their sequences
    return arguments
