"""Training of the `bert` extractor: three models into one folder, taken up where it was killed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spanlake.config.train import BertTrainConfig
from spanlake.core.labels import LabelSet, load_labels
from spanlake.corpora import GoldNote
from spanlake.models.bert import Bert
from spanlake.models.checkpoints import KIND, PARTS, TRAINED_OPTIONS, parts_of
from spanlake.models.loading import file_digests, find_folder, write_manifest
from spanlake.training.apart import learnt_by, texts_of
from spanlake.training.datasets import Example, examples_of
from spanlake.training.evaluation import strict_scores
from spanlake.training.fitting import Places, fit_linker, fit_tagger
from spanlake.training.processes import require_one
from spanlake.training.recipe import (
    METRICS,
    WORK,
    extractor_config,
    make,
    read_json,
    recipe_of,
    write_json,
)

log = logging.getLogger(__name__)


def train_bert(
    notes: Sequence[GoldNote], dev: Sequence[GoldNote], config: BertTrainConfig
) -> dict[str, Any]:
    """Train the models that the label set asks for into the folder `config.to`; return metrics.

    metrics.json gets the same: loss by epoch, seconds and counts of what was left out per model,
    and the finished extractor's scores on `dev`, on which nothing is chosen. A finished folder of
    the same recipe is left as it is, unless `config.resume` is false. Raises ConfigError where the
    folder holds another recipe's.
    """
    require_one("kind: bert")
    labels, top = load_labels(config.labels), Path(config.to)
    reading = extractor_config(KIND, config, TRAINED_OPTIONS)
    recipe = recipe_of(notes, labels, config)
    metrics = make(
        top,
        KIND,
        recipe,
        lambda: _fit(notes, labels, config, recipe),
        parts=PARTS,
        resume=config.resume,
    )
    metrics["dev"] = strict_scores(dev, Bert(reading)) if dev else None
    write_json(top / METRICS, metrics)
    return metrics


def _fit(
    notes: Sequence[GoldNote], labels: LabelSet, config: BertTrainConfig, recipe: dict[str, Any]
) -> None:
    top = Path(config.to)
    summary = _train_models(notes, labels, config)
    files, learnt = file_digests(parts_of(top)), sorted(texts_of(notes) | learnt_by(config.model))
    write_manifest(
        top,
        KIND,
        labels,
        {"training": {"recipe": recipe, "learnt_texts": learnt, **summary}},
        files,
    )


def _train_models(
    notes: Sequence[GoldNote], labels: LabelSet, config: BertTrainConfig
) -> dict[str, Any]:
    top = Path(config.to)
    examples, counts = examples_of(notes)
    models: dict[str, Any] = {}
    for part, fit in _parts(labels).items():
        done = top / WORK / f"{part}.json"
        made = read_json(done)
        if made is None:
            log.info("training the %s model", part)
            places = Places(find_folder(config.model), top / WORK / part, top / part)
            made = fit(examples, labels, config, places)
            write_json(done, made)
        models[part] = made
    return {"data": dict(counts), "models": models}


Fit = Callable[[Sequence[Example], LabelSet, BertTrainConfig, Places], dict[str, Any]]


def _parts(labels: LabelSet) -> dict[str, Fit]:
    """Return how to train each model that the label set asks for."""
    parts: dict[str, Fit] = {layer: partial(fit_tagger, layer) for layer in labels.layers}
    return {**parts, "relation": fit_linker} if labels.pairs else parts
