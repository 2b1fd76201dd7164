"""Training of the one-pass tagger: one model folder, taken up where it was killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from spanlake.config.extract import ExtractorConfig
from spanlake.config.train import Recipe, TaggerTrainConfig
from spanlake.core.labels import LabelSet, load_labels
from spanlake.corpora import GoldNote
from spanlake.errors import DataError
from spanlake.models.loading import find_folder, missing_packages
from spanlake.models.network import most_pieces
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.folder import KIND, TRAINED_OPTIONS, save
from spanlake.models.tagger.module import OnePass
from spanlake.models.tokenization import Pieces
from spanlake.training import processes
from spanlake.training.apart import learnt_by, texts_of
from spanlake.training.averaging import mean_state
from spanlake.training.batches import ByEpoch
from spanlake.training.datasets import Feature, examples_of
from spanlake.training.evaluation import strict_scores
from spanlake.training.joint import (
    Target,
    collate_joint,
    gold_targets,
    joint_features,
    parts_of,
)
from spanlake.training.learner import JointLearner
from spanlake.training.recipe import (
    METRICS,
    WORK,
    check_vacant,
    extractor_config,
    is_finished,
    make,
    read_calibration,
    recipe_of,
    uses_bf16,
    write_json,
)
from spanlake.training.relinking import relink
from spanlake.training.start import Config, check_start, parameter_groups, start_of
from spanlake.training.trainer import BatchTrainer, batch_arguments, last_checkpoint, metrics_of

try:
    import torch
    import transformers
except ImportError:
    raise missing_packages("train") from None


def train_tagger(
    notes: Sequence[GoldNote], dev: Sequence[GoldNote], config: TaggerTrainConfig
) -> dict[str, Any]:
    """Train a tagger on `notes` into the folder `config.to`; return its metrics.

    metrics.json gets the same, with the finished extractor's scores on `dev`, on which nothing is
    chosen; of several processes the first alone reads and writes them. A finished folder of the
    same recipe is left as it is, unless `config.resume` is false. Raises ConfigError where the
    folder holds another recipe's.
    """
    labels, top = load_labels(config.labels), Path(config.to)
    recipe = recipe_of(notes, labels, config)
    check_start(labels, config)  # before anything that is there is removed
    reading = tagger_config(config)
    fitting = partial(_fit, notes, config, recipe)
    metrics = make(top, KIND, recipe, fitting, resume=config.resume)
    if not processes.is_first():
        return metrics
    metrics["dev"] = strict_scores(dev, OnePassTagger(reading)) if dev else None
    write_json(top / METRICS, metrics)
    return metrics


def check_trainable(notes: Sequence[GoldNote], config: TaggerTrainConfig) -> None:
    """Raise what `train_tagger` would before it begins: for its base, and for its folder."""
    labels = load_labels(config.labels)
    recipe = recipe_of(notes, labels, config)
    check_start(labels, config)
    if not is_finished(Path(config.to), KIND, recipe):
        check_vacant(Path(config.to), recipe, resume=config.resume)


def tagger_config(config: Recipe) -> ExtractorConfig:
    """Return how the model that `config` trains is read with: sentence by sentence.

    Neighbours help to learn and not to read (docs/decisions/0006-ladder.md).
    """
    return extractor_config(KIND, config, TRAINED_OPTIONS)


def _fit(notes: Sequence[GoldNote], config: TaggerTrainConfig, recipe: dict[str, Any]) -> None:
    labels = load_labels(config.labels)
    examples, data = examples_of(notes)
    targets, counts = gold_targets(examples, labels, max_pair_words=config.max_pair_words)
    told = {
        "recipe": recipe,
        "learnt_texts": sorted(texts_of(notes) | learnt_by(config.model)),
        **counts,
        "data": dict(data),
    }
    fit(targets, labels, config, told, together=config.together)


def fit(
    targets: Sequence[Target],
    labels: LabelSet,
    config: Config,
    told: Mapping[str, Any],
    together: int = 1,
) -> None:
    """Train a tagger on `targets` and save it in `config.to`; `told` goes into its manifest too.

    Up to `together` targets that follow one another in a note are learnt as one, others each epoch.
    """
    top = Path(config.to)
    transformers.set_seed(config.seed)  # fresh heads are drawn here
    module, pieces = start_of(find_folder(config.model), labels, config)
    limit = most_pieces(module.backbone, pieces, config.max_tokens)
    features = partial(joint_features, pieces=pieces, limit=limit)
    parts = parts_of(targets, pieces, limit=limit, stride=config.stride)
    alone = features(parts)

    def epochs_of(seed: int) -> Sequence[list[Feature]]:
        if together == 1:
            return [alone]
        seeds = [(seed, epoch) for epoch in range(config.epochs)]
        return [features(parts, most=together, seed=drawn) for drawn in seeds]

    metrics = _train_runs(module, epochs_of, pieces, config, top / WORK)
    if not processes.is_first():
        return
    options = {"epochs": config.link_epochs, "seed": config.seed}
    metrics["link_loss_by_epoch"] = relink(module, alone, pieces.pad, **options)
    details = {
        "longest": limit + pieces.specials,
        "context": (together - 1) // 2,  # most neighbours on both sides
        "calibration": read_calibration(config.calibration, labels),
        "training": {**told, **metrics},
    }
    save(module, pieces, labels, top, details)


def _train_runs(
    module: OnePass,
    epochs_of: Callable[[int], Sequence[list[Feature]]],
    pieces: Pieces,
    config: Config,
    work: Path,
) -> dict[str, Any]:
    """Train the module, or train it several times from where it starts and leave the mean in it.

    The mean of weights that were learnt from one start in several orders is about as good as an
    ensemble of them, and is read as one model is (arXiv 2203.05482).
    """
    if config.runs == 1:
        return _train(module, epochs_of(config.seed), pieces, config, work)
    start = deepcopy(module.state_dict())
    found, told = [], []
    for seed in range(config.seed, config.seed + config.runs):
        module.load_state_dict(start)
        mine = config.model_copy(update={"seed": seed})
        epochs, own = epochs_of(seed), work / f"seed-{seed}"
        told.append(_train(module, epochs, pieces, mine, own))
        found.append(deepcopy(module.state_dict()))
    module.load_state_dict(mean_state(found))
    return {"runs": told}


def _train(
    module: OnePass,
    epochs: Sequence[list[Feature]],
    pieces: Pieces,
    config: Config,
    work: Path,
) -> dict[str, Any]:
    if not epochs[0]:
        raise DataError("the notes hold nothing to train on")
    began = time.monotonic()
    transformers.set_seed(config.seed)  # of dropout
    learner = JointLearner(module)
    trainer = BatchTrainer(
        model=learner,
        args=batch_arguments(
            work,
            config,
            bf16=uses_bf16(config),
            seed=config.seed,
            save_total_limit=1,
        ),
        data_collator=partial(collate_joint, filler=pieces.pad),
        train_dataset=ByEpoch(epochs),
        optimizers=(torch.optim.AdamW(parameter_groups(learner, config), fused=True), None),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(work))
    return metrics_of(trainer, began)
