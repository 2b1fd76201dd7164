"""The output folder of a training: its recipe, how it is resumed, and which process writes it.

Everything that changes the outcome is the recipe. A training that is started again with the same
recipe resumes from its last epoch; with another recipe it starts over, and overwrites a finished
model only with `resume: false`. With several processes (`accelerate launch`, `torchrun`: one per
GPU) all train on their own batches, and the main process alone writes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from spanlake.config.extractors import AnyExtractor
from spanlake.config.train import ModelTrainConfig, RunConfig
from spanlake.core.labels import labels_digest, load_labels
from spanlake.core.types import Note
from spanlake.corpora import GoldNote
from spanlake.errors import ConfigError, ModelError
from spanlake.models.devices import gains_from_bf16, pick_device
from spanlake.models.loading import (
    MANIFEST,
    file_digests,
    find_folder,
    missing_packages,
    read_manifest,
)
from spanlake.text.sentences import SPLITTER_VERSION

try:
    from accelerate import PartialState
except ImportError:
    raise missing_packages("train") from None

TRAINER_VERSION = 5  # raise when the same notes and options give another model
SHARED_KEYS = ("labels", "max_tokens", "stride", "max_pair_distance")  # of training and reading
PACKAGES = ("torch", "transformers", "accelerate", "tokenizers")
METRICS = "metrics.json"
WORK = ".training"  # checkpoints and finished parts; removed at the end of the training
# Keys that say where things are; digests of the files' contents are in the recipe instead.
LOCATIONS = {"output_dir", "train_data", "eval_data", "model", "resume", "calibration"}
LOCATIONS |= {"notes", "exclude_ids_file", "teachers"}

log = logging.getLogger(__name__)

C = TypeVar("C", bound=AnyExtractor)


def recipe_of(config: RunConfig, notes_sha256: str, **more: Any) -> dict[str, Any]:
    """Return the recipe: options, digests of notes, labels and base model, package versions.

    Raises ConfigError where the training would overwrite its base model or a teacher.
    """
    output_dir = Path(config.output_dir).resolve()
    for name in (config.model, *getattr(config, "teachers", ())):
        folder = find_folder(name).resolve()
        if output_dir in (folder, folder.parent):
            raise ConfigError(
                f"output_dir: {config.output_dir} would overwrite {name}; use another folder"
            )
    files = file_digests({"base": find_folder(config.model)})
    files.pop(f"base/{METRICS}", None)
    if isinstance(config, ModelTrainConfig):
        more["labels_sha256"] = labels_digest(load_labels(config.labels))
    return {
        **config.model_dump(exclude=LOCATIONS),
        "model": Path(config.model).name,
        "model_files": files,
        "code": f"{TRAINER_VERSION} {SPLITTER_VERSION}",
        "bf16": uses_bf16(config.precision),
        "packages": {name: version(name) for name in PACKAGES},
        "processes": world_size(),  # they divide the steps
        "notes_sha256": notes_sha256,
        **more,
    }


def gold_digest(notes: Iterable[GoldNote]) -> str:
    """Hash ids, texts and annotation of gold notes."""
    return _digest((gold.note.note_id, gold.note.note_text, gold.annotation) for gold in notes)


def text_digest(notes: Iterable[Note]) -> str:
    """Hash ids and texts of notes."""
    return _digest((note.note_id, note.note_text) for note in notes)


def _digest(rows: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()


def uses_bf16(precision: str) -> bool:
    """Return whether this machine trains in bfloat16 with this `precision`."""
    return gains_from_bf16(pick_device("auto")) if precision == "auto" else precision == "bf16"


def reading_config(
    kind: type[C], config: ModelTrainConfig, options: Mapping[str, Any] | None = None
) -> C:
    """Return the extractor configuration of the model that `config` trains."""
    shared = {name: getattr(config, name) for name in SHARED_KEYS if name in kind.model_fields}
    return kind.model_validate({"model": config.output_dir, **shared, **(options or {})})


def train_or_resume(
    output_dir: Path,
    kind: str,
    recipe: dict[str, Any],
    *,
    resume: bool,
    parts: Sequence[str] = (),
) -> Path | None:
    """Return the folder to work in, or None where this recipe has already trained the model.

    What an unfinished training of this recipe has left there is kept; what another recipe has left
    is removed, with the folders `parts` of `output_dir`. Raises ConfigError as `check_vacant`.
    """
    work = output_dir / WORK
    if resume and is_finished(output_dir, kind, recipe):
        log.info("%s: already trained with this recipe", output_dir)
        remove_work(output_dir)  # after a crash between manifest and cleaning up
        return None
    check_vacant(output_dir, recipe, resume=resume)
    barrier()  # all processes have looked at the folder
    if is_main_process():
        _prepare(output_dir, recipe, parts, resume=resume)
    barrier()
    return work


def _prepare(
    output_dir: Path, recipe: dict[str, Any], parts: Sequence[str], *, resume: bool
) -> None:
    work = output_dir / WORK
    if resume and read_json(work / "recipe.json") == recipe:
        log.info("%s: resuming an unfinished training", output_dir)
        return
    if (work / "recipe.json").is_file():
        log.warning("%s: removing an unfinished training with another recipe", output_dir)
    shutil.rmtree(work, ignore_errors=True)
    (output_dir / MANIFEST).unlink(missing_ok=True)  # a half-trained folder is no model
    for part in parts:
        shutil.rmtree(output_dir / part, ignore_errors=True)
    work.mkdir(parents=True)
    write_json(work / "recipe.json", recipe)


def is_finished(output_dir: Path, kind: str, recipe: dict[str, Any]) -> bool:
    """Return whether `output_dir` is a model folder that this recipe has trained."""
    try:
        return read_manifest(output_dir, kind)["training"]["recipe"] == recipe
    except (ModelError, KeyError):
        return False


def check_vacant(output_dir: Path, recipe: dict[str, Any], *, resume: bool) -> None:
    """Raise ConfigError where `output_dir` holds a finished model and `resume` is on.

    The message names the keys of the recipe that differ.
    """
    unfinished = (output_dir / WORK).exists()
    finished = (output_dir / MANIFEST).is_file() or (
        (output_dir / METRICS).is_file() and not unfinished
    )
    if resume and finished:
        old = (read_json(output_dir / METRICS) or {}).get("recipe", {})
        others = sorted(key for key in {*old, *recipe} if old.get(key) != recipe.get(key))
        raise ConfigError(
            f"{output_dir}: holds a model of another recipe"
            + (f" (differs in {', '.join(others)})" if old else "")
            + "; remove it, set another `output_dir`, or overwrite it (`resume: false`)"
        )


def remove_work(output_dir: Path) -> None:
    """Remove the checkpoints once all processes are done."""
    barrier()
    if is_main_process():
        shutil.rmtree(output_dir / WORK, ignore_errors=True)


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this is the process that writes: the first, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def barrier() -> None:
    """Wait until all processes have come here."""
    if world_size() > 1:
        PartialState(cpu=pick_device("auto") == "cpu").wait_for_everyone()


def require_single_process(what: str) -> None:
    """Raise ConfigError where several processes were started."""
    if world_size() > 1:
        raise ConfigError(f"{what} takes one process: start it without accelerate or torchrun")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what `write_json` wrote; None where there is no file, or a crash left a part of it."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file for people to read."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
