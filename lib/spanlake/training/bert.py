"""Training of the `bert` extractor: three models into one folder, taken up where it was killed.

All that changes the outcome is the recipe. A run started again with the same recipe goes on from
its last epoch; another recipe starts over.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spanlake.core.config import ExtractorConfig
from spanlake.core.corpora import GoldNote
from spanlake.core.errors import ConfigError
from spanlake.core.labels import LAYERS, LabelSet, load_labels
from spanlake.core.train_config import BertTrainConfig
from spanlake.models.bert import Bert
from spanlake.models.loading import (
    KIND,
    PARTS,
    TRAINED_OPTIONS,
    file_digests,
    find_folder,
    parts_of,
    read_manifest,
    write_manifest,
)
from spanlake.training.datasets import Example, examples_of
from spanlake.training.evaluation import strict_scores
from spanlake.training.fitting import Places, fit_linker, fit_tagger
from spanlake.training.recipe import METRICS, WORK, is_finished, prepare, recipe_of, write_json

log = logging.getLogger(__name__)


def train_bert(
    notes: Sequence[GoldNote], dev: Sequence[GoldNote], config: BertTrainConfig
) -> dict[str, Any]:
    """Train the models that the label set asks for into the folder `config.to`; return metrics.

    metrics.json gets the same: loss by epoch, seconds and counts of what was left out per model,
    and the finished extractor's scores on `dev`, on which nothing is chosen. A finished folder of
    the same recipe is left as it is, unless `config.resume` is false.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    labels, top = load_labels(config.labels), Path(config.to)
    extractor_config = _extractor_config(config)
    recipe = recipe_of(notes, labels, config)
    if config.resume and is_finished(top, KIND, recipe):
        log.info("%s: already trained by this recipe", top)
    else:
        prepare(top, recipe, PARTS, resume=config.resume)
        summary = _train_models(notes, labels, config)
        files = file_digests(parts_of(top))
        write_manifest(top, KIND, labels, {"training": {"recipe": recipe, **summary}}, files)
        shutil.rmtree(top / WORK)
    metrics = dict(read_manifest(top, KIND)["training"])
    metrics["dev"] = strict_scores(dev, Bert(extractor_config)) if dev else None
    write_json(top / METRICS, metrics)
    return metrics


def _extractor_config(config: BertTrainConfig) -> ExtractorConfig:
    """Return the configuration that the dev notes are read with; wrong options show here."""
    try:
        shared = config.model_dump(include={"labels", *TRAINED_OPTIONS})
        return ExtractorConfig.model_validate({"kind": "bert", "model": config.to, **shared})
    except ValidationError as error:
        raise ConfigError("; ".join(problem["msg"] for problem in error.errors())) from None


def _train_models(
    notes: Sequence[GoldNote], labels: LabelSet, config: BertTrainConfig
) -> dict[str, Any]:
    top = Path(config.to)
    examples, counts = examples_of(notes)
    models: dict[str, Any] = {}
    for part, fit in _parts(labels).items():
        done = top / WORK / f"{part}.json"
        if not done.exists():
            log.info("training the %s model", part)
            places = Places(find_folder(config.model), top / WORK / part, top / part)
            write_json(done, fit(examples, labels, config, places))
        models[part] = json.loads(done.read_text("utf-8"))
    return {"data": dict(counts), "models": models}


Fit = Callable[[Sequence[Example], LabelSet, BertTrainConfig, Places], dict[str, Any]]


def _parts(labels: LabelSet) -> dict[str, Fit]:
    """Return how to train each model that the label set asks for."""
    parts: dict[str, Fit] = {
        layer: partial(fit_tagger, layer) for layer in LAYERS if labels.labels_of(layer)
    }
    return {**parts, "relation": fit_linker} if labels.pairs else parts
