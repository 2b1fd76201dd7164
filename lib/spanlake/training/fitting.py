"""One model fine-tuned with Hugging Face's Trainer, from its last checkpoint where there is one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spanlake.config.train import BertTrainConfig
from spanlake.core.bio import tag_names
from spanlake.core.labels import LabelSet, Layer
from spanlake.errors import DataError
from spanlake.models.loading import missing_packages
from spanlake.models.network import (
    Head,
    load_weights,
    most_pieces,
)
from spanlake.models.tokenization import Pieces, checkpoint_tokenizer, pieces_of
from spanlake.training import datasets
from spanlake.training.datasets import Example, Feature
from spanlake.training.recipe import uses_bf16
from spanlake.training.trainer import arguments_of, last_checkpoint, metrics_of

try:
    import transformers
except ImportError:
    raise missing_packages("train") from None

WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True)
class Places:
    """The checkpoint to start from, where it is kept while it trains, and where in the end."""

    base: Path
    work: Path
    to: Path


def fit_tagger(
    layer: Layer,
    examples: Sequence[Example],
    labels: LabelSet,
    config: BertTrainConfig,
    places: Places,
) -> dict[str, Any]:
    """Train and save the token classifier of a layer; return its metrics."""
    pieces, model = _fresh(config, places.base, "words", tag_names(labels.labels_of(layer)))
    limit = most_pieces(model, pieces, config.max_tokens)
    features, counts = datasets.tag_features(
        examples, pieces, labels, layer, limit=limit, stride=config.stride
    )
    arguments = _arguments(config, places.work, config.epochs, config.learning_rate)
    return {**counts, **_fit(model, pieces, features, arguments, places)}


def fit_linker(
    examples: Sequence[Example], labels: LabelSet, config: BertTrainConfig, places: Places
) -> dict[str, Any]:
    """Train and save the pair classifier; return its metrics."""
    pieces, model = _fresh(config, places.base, "pairs", datasets.pair_classes(labels))
    limit = most_pieces(model, pieces, config.max_pair_tokens)
    features, counts = datasets.pair_features(
        examples, pieces, labels, limit=limit, max_pair_words=config.max_pair_words
    )
    epochs, learning_rate = config.relation_epochs, config.relation_learning_rate
    arguments = _arguments(config, places.work, epochs, learning_rate)
    # Long texts hold far pairs, which are unrelated, short ones near pairs: batches of one length
    # swing between the two, and the classifier stays a coin.
    arguments.train_sampling_strategy = "random"
    return {**counts, **_fit(model, pieces, features, arguments, places)}


def _fresh(
    config: BertTrainConfig, base: Path, head: Head, classes: Sequence[str]
) -> tuple[Pieces, Any]:
    transformers.set_seed(config.seed)  # the fresh head is drawn at loading
    return pieces_of(base), load_weights(base, head, classes)


def _arguments(
    config: BertTrainConfig, work: Path, epochs: int, learning_rate: float
) -> transformers.TrainingArguments:
    return arguments_of(
        work,
        bf16=uses_bf16(config),
        seed=config.seed,
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        per_device_train_batch_size=config.batch_size,
        weight_decay=WEIGHT_DECAY,
        train_sampling_strategy="group_by_length",
        save_total_limit=1,
    )


def _fit(
    model: Any,
    pieces: Pieces,
    features: list[Feature],
    arguments: transformers.TrainingArguments,
    places: Places,
) -> dict[str, Any]:
    if not features:
        raise DataError(f"the notes hold nothing to train {places.to.name} on")
    began = time.monotonic()
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        data_collator=partial(datasets.collate, filler=pieces.pad),
        train_dataset=features,
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(places.work))
    shutil.rmtree(places.to, ignore_errors=True)
    model.save_pretrained(places.to)
    checkpoint_tokenizer(places.base).save_pretrained(places.to)
    return metrics_of(trainer, began)
