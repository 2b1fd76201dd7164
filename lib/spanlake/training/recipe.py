"""What decides the outcome of a training, and how one that was broken off is taken up.

All that changes the outcome is the recipe. A training started again with the same recipe goes on
from its last epoch; another recipe starts over, and replaces no finished model unasked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spanlake.config.extract import ExtractorConfig
from spanlake.config.train import DistilConfig, MaskedTrainConfig, Recipe, TrainConfig
from spanlake.core.labels import LabelSet, labels_digest, load_labels
from spanlake.core.types import Note
from spanlake.corpora import GoldNote
from spanlake.errors import ConfigError, ModelError
from spanlake.models.devices import gains_from_bf16, pick_device
from spanlake.models.loading import MANIFEST, file_digests, find_folder, read_manifest
from spanlake.models.tagger.calibration import Calibration
from spanlake.models.tagger.reader import tag_counts
from spanlake.text.sentences import SPLITTER_VERSION
from spanlake.training import processes

TRAINER_VERSION = 5  # raise when the code learns otherwise from the same notes and options
PACKAGES = ("torch", "transformers", "accelerate", "tokenizers")
METRICS = "metrics.json"
WORK = ".training"  # checkpoints and what is finished; gone when training ends
# Where things are, not what comes out; of a calibration, what the file says counts.
NOT_RECIPE = {"to", "train", "dev", "model", "resume", "calibration"}

log = logging.getLogger(__name__)


def recipe_of(notes: Sequence[GoldNote], labels: LabelSet, config: TrainConfig) -> dict[str, Any]:
    """Return the recipe: options, digests of the notes and of the base model, package versions."""
    return {
        **config.model_dump(exclude=NOT_RECIPE),
        **_machinery(config),
        **_calibrated(config),
        "labels_sha256": labels_digest(labels),
        "notes_sha256": notes_digest(notes),
    }


def unlabelled_recipe(
    notes: Sequence[Note], config: MaskedTrainConfig | DistilConfig
) -> dict[str, Any]:
    """Return the recipe of a training without annotation."""
    digest = hashlib.sha256()
    for note in notes:
        digest.update(repr((note.note_id, note.note_text)).encode())
    return {
        **config.model_dump(exclude=NOT_RECIPE | {"notes", "leave_out", "teachers"}),
        **_machinery(config),
        **(_calibrated(config) if isinstance(config, DistilConfig) else {}),
        "notes_sha256": digest.hexdigest(),
    }


def _calibrated(config: Recipe) -> dict[str, Any]:
    path = getattr(config, "calibration", None)
    return {"calibration": read_calibration(path, load_labels(config.labels))} if path else {}


def _machinery(config: Recipe | MaskedTrainConfig) -> dict[str, Any]:
    _check_to(config)
    base = file_digests({"base": find_folder(config.model)})
    return {
        "model": Path(config.model).name,
        "model_files": {name: one for name, one in base.items() if name != f"base/{METRICS}"},
        "code": f"{TRAINER_VERSION} {SPLITTER_VERSION}",
        "bf16": uses_bf16(config),
        "packages": {name: version(name) for name in PACKAGES},
        "processes": processes.count(),  # they divide the steps
    }


def _check_to(config: Recipe | MaskedTrainConfig) -> None:
    """Raise ConfigError where a training would write over what it starts or learns from."""
    top = Path(config.to).resolve()
    for name in (config.model, *getattr(config, "teachers", ())):
        folder = find_folder(name).resolve()
        if top in (folder, folder.parent):
            raise ConfigError(f"to: {config.to} would write over {name}; take another folder")


def extractor_config(kind: str, config: Recipe, options: Iterable[str]) -> ExtractorConfig:
    """Return how the model that `config` trains is read with; `options` are read as trained.

    Raises ConfigError for options that no extractor can have.
    """
    try:
        shared = config.model_dump(include={"labels", *options})
        return ExtractorConfig.model_validate({"kind": kind, "model": config.to, **shared})
    except ValidationError as error:
        raise ConfigError("; ".join(problem["msg"] for problem in error.errors())) from None


def uses_bf16(config: Recipe | MaskedTrainConfig) -> bool:
    """Tell whether this machine trains by this recipe in bfloat16."""
    if config.precision == "auto":
        return gains_from_bf16(pick_device("auto"))
    return config.precision == "bf16"


def notes_digest(notes: Sequence[GoldNote]) -> str:
    """Hash ids, texts and annotation."""
    digest = hashlib.sha256()
    for gold in notes:
        digest.update(repr((gold.note.note_id, gold.note.note_text, gold.annotation)).encode())
    return digest.hexdigest()


def make(
    top: Path,
    kind: str,
    recipe: dict[str, Any],
    fit: Callable[[], None],
    *,
    parts: Iterable[str] = (),
    resume: bool,
) -> dict[str, Any]:
    """Have `fit` train the model folder `top`, unless this recipe has; return its metrics.

    `parts` are the folders inside `top` that a training writes. Without `resume` nothing that is
    there already is used. Raises ConfigError where `check_vacant` does.
    """
    if resume and is_finished(top, kind, recipe):
        log.info("%s: already trained by this recipe", top)
        _remove_work(top)  # where a kill came after the manifest
    else:
        check_vacant(top, recipe, resume=resume)
        processes.meet()  # all have looked
        if processes.is_first():
            prepare(top, recipe, parts, resume=resume)
        processes.meet()
        fit()
        processes.meet()
        _remove_work(top)
    return dict(read_manifest(top, kind)["training"])


def _remove_work(top: Path) -> None:
    if processes.is_first():
        shutil.rmtree(top / WORK, ignore_errors=True)


def is_finished(top: Path, kind: str, recipe: dict[str, Any]) -> bool:
    """Tell whether `top` is a model folder that this recipe made."""
    try:
        return read_manifest(top, kind)["training"]["recipe"] == recipe
    except (ModelError, KeyError):
        return False


def check_vacant(top: Path, recipe: dict[str, Any], *, resume: bool) -> None:
    """Raise ConfigError where `top` holds a finished model, which a training would replace.

    The message names what of the recipe differs. Without `resume` it may be replaced.
    """
    unfinished = (top / WORK).exists()
    finished = (top / MANIFEST).is_file() or ((top / METRICS).is_file() and not unfinished)
    if resume and finished:
        old = (read_json(top / METRICS) or {}).get("recipe", {})
        others = sorted(key for key in {*old, *recipe} if old.get(key) != recipe.get(key))
        raise ConfigError(
            f"{top}: holds a model of another recipe"
            + (f" (differs in {', '.join(others)})" if old else "")
            + "; remove it, take another folder (`to`), or train in its place (`resume: false`)"
        )


def prepare(top: Path, recipe: dict[str, Any], parts: Iterable[str], *, resume: bool) -> None:
    """Make room for a training: what another one left is removed, what this recipe left is kept.

    `parts` are the folders inside `top` that a training writes.
    """
    written = top / WORK / "recipe.json"
    if resume and read_json(written) == recipe:
        log.info("%s: taking up the training that was broken off", top)
        return
    if written.is_file():
        log.warning("%s: an unfinished training of another recipe is dropped", top)
    shutil.rmtree(top / WORK, ignore_errors=True)
    (top / MANIFEST).unlink(missing_ok=True)  # a half-trained folder is no model
    for part in parts:
        shutil.rmtree(top / part, ignore_errors=True)
    (top / WORK).mkdir(parents=True)
    write_json(written, recipe)


def read_calibration(path: str | None, labels: LabelSet) -> dict[str, Any] | None:
    """Return the temperatures of a file that jobs/crossvalidate.py wrote; none for no file.

    Raises ConfigError for what is none, or not one above 0 for each layer and one for pairs.
    """
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        found = Calibration(tuple(map(float, content["tags"])), float(content["pairs"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no calibration ({type(error).__name__})") from None
    layers = len(tag_counts(labels))
    if len(found.tags) != layers or not all(
        0 < one < math.inf for one in (*found.tags, found.pairs)
    ):
        raise ConfigError(
            f"{path}: needed: {layers} temperatures of tags and one of pairs, above 0"
        )
    return found.as_dict()


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what `write_json` wrote; None where there is nothing, or a kill left a part of it."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file for people to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
