"""Training of the `bert` extractor: three models into one folder, taken up where it was killed.

All that changes the outcome is the recipe. A run started again with the same recipe goes on from
its last epoch; another recipe starts over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spanlake.core.config import ExtractorConfig, TrainConfig
from spanlake.core.corpora import GoldNote
from spanlake.core.errors import ConfigError, ModelError
from spanlake.core.labels import LAYERS, LabelSet, labels_digest, load_labels
from spanlake.models.bert import Bert
from spanlake.models.loading import (
    MANIFEST,
    PARTS,
    TRAINED_OPTIONS,
    file_digests,
    find_folder,
    read_manifest,
    write_manifest,
)
from spanlake.training.datasets import Example, examples_of
from spanlake.training.evaluation import strict_scores
from spanlake.training.fitting import Places, fit_linker, fit_tagger

METRICS = "metrics.json"
WORK = ".training"  # checkpoints and what is finished; gone when training ends
NOT_RECIPE = {"to", "train", "dev", "resume"}  # where things are, not what comes out

log = logging.getLogger(__name__)


def train_bert(
    notes: Sequence[GoldNote], dev: Sequence[GoldNote], config: TrainConfig
) -> dict[str, Any]:
    """Train the models that the label set asks for into the folder `config.to`; return metrics.

    metrics.json gets the same: loss by epoch, seconds and counts of what was left out per model,
    and the finished extractor's scores on `dev`, on which nothing is chosen. A finished folder of
    the same recipe is left as it is, unless `config.resume` is false.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    labels, top = load_labels(config.labels), Path(config.to)
    extractor_config = _extractor_config(config)
    recipe = _recipe(notes, labels, config)
    if config.resume and _is_finished(top, recipe):
        log.info("%s: already trained by this recipe", top)
    else:
        _prepare(top, recipe, resume=config.resume)
        summary = _train_models(notes, labels, config)
        write_manifest(top, labels, {"training": {"recipe": recipe, **summary}})
        shutil.rmtree(top / WORK)
    metrics = dict(read_manifest(top)["training"])
    metrics["dev"] = strict_scores(dev, Bert(extractor_config)) if dev else None
    _write(top / METRICS, metrics)
    return metrics


def _extractor_config(config: TrainConfig) -> ExtractorConfig:
    """Return the configuration that the dev notes are read with; wrong options show here."""
    try:
        shared = config.model_dump(include={"labels", *TRAINED_OPTIONS})
        return ExtractorConfig.model_validate({"kind": "bert", "model": config.to, **shared})
    except ValidationError as error:
        raise ConfigError("; ".join(problem["msg"] for problem in error.errors())) from None


def _recipe(notes: Sequence[GoldNote], labels: LabelSet, config: TrainConfig) -> dict[str, Any]:
    return {
        **config.model_dump(exclude=NOT_RECIPE),
        "model_files": file_digests({"base": find_folder(config.model)}),
        "labels_sha256": labels_digest(labels),
        "notes_sha256": _notes_digest(notes),
        "packages": {name: version(name) for name in ("torch", "transformers")},
    }


def _notes_digest(notes: Sequence[GoldNote]) -> str:
    digest = hashlib.sha256()
    for gold in notes:
        digest.update(repr((gold.note.note_id, gold.note.note_text, gold.annotation)).encode())
    return digest.hexdigest()


def _is_finished(top: Path, recipe: dict[str, Any]) -> bool:
    try:
        return read_manifest(top)["training"]["recipe"] == recipe
    except (ModelError, KeyError):
        return False


def _prepare(top: Path, recipe: dict[str, Any], *, resume: bool) -> None:
    """Make room for a training: what another recipe left is removed, what this one left is kept."""
    written = top / WORK / "recipe.json"
    if written.is_file() and resume and json.loads(written.read_text("utf-8")) == recipe:
        log.info("%s: taking up the training that was broken off", top)
        return
    shutil.rmtree(top / WORK, ignore_errors=True)
    (top / MANIFEST).unlink(missing_ok=True)  # a half-trained folder is no model
    for part in PARTS:
        shutil.rmtree(top / part, ignore_errors=True)
    (top / WORK).mkdir(parents=True)
    _write(written, recipe)


def _train_models(
    notes: Sequence[GoldNote], labels: LabelSet, config: TrainConfig
) -> dict[str, Any]:
    top = Path(config.to)
    examples, counts = examples_of(notes)
    models: dict[str, Any] = {}
    for part, fit in _parts(labels).items():
        done = top / WORK / f"{part}.json"
        if not done.exists():
            log.info("training the %s model", part)
            places = Places(top / WORK / part, top / part)
            _write(done, fit(examples, labels, config, places))
        models[part] = json.loads(done.read_text("utf-8"))
    return {"data": dict(counts), "models": models}


Fit = Callable[[Sequence[Example], LabelSet, TrainConfig, Places], dict[str, Any]]


def _parts(labels: LabelSet) -> dict[str, Fit]:
    """Return how to train each model that the label set asks for."""
    parts: dict[str, Fit] = {
        layer: partial(fit_tagger, layer) for layer in LAYERS if labels.labels_of(layer)
    }
    return {**parts, "relation": fit_linker} if labels.pairs else parts


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
