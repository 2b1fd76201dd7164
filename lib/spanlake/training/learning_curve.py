"""The learning curve: one recipe on more and more notes, scored on notes that none has seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from spanlake.config.train import TaggerTrainConfig
from spanlake.corpora import GoldNote
from spanlake.errors import ConfigError
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.scoring.counts import Scores
from spanlake.scoring.score_extractor import scores_by_note
from spanlake.training.folds import check_unlearnt
from spanlake.training.processes import require_one
from spanlake.training.tagger import check_trainable, tagger_config, train_tagger


def subsets(
    notes: Sequence[GoldNote], sizes: Iterable[int], seed: int
) -> dict[int, list[GoldNote]]:
    """Return the first notes of one random order, by how many: the larger hold the smaller.

    They stay in the order of `notes`, so that all of them are what jobs/train.py learns. Raises
    ConfigError for a size below 1, or above the number of notes.
    """
    wanted = sorted(set(sizes))
    wrong = [str(size) for size in wanted if not 1 <= size <= len(notes)]
    if wrong:
        raise ConfigError(f"sizes {', '.join(wrong)}: `train` holds {len(notes)} notes")
    order = np.random.default_rng(seed).permutation(len(notes))
    return {size: [notes[i] for i in sorted(order[:size])] for size in wanted}


def train_sizes(
    notes: Sequence[GoldNote],
    dev: Sequence[GoldNote],
    sizes: Iterable[int],
    config: TaggerTrainConfig,
) -> dict[int, dict[str, Scores]]:
    """Train a model a size, into `config.to`/notes-N; return its scores of every note of `dev`.

    A size that is already trained by the same recipe is not trained again. Raises DataError for
    notes of `dev` among `notes`, ConfigError as `subsets`, for a base that has learnt notes and,
    before anything is trained, for a folder that holds another recipe's model.
    """
    require_one("a learning curve")
    check_unlearnt(notes, dev, config)
    chosen = subsets(notes, sizes, config.seed)
    recipes = {size: _of_size(size, config) for size in chosen}
    for size, mine in recipes.items():  # before the first is trained
        check_trainable(chosen[size], mine)
    scores = {}
    for size, mine in recipes.items():
        train_tagger(chosen[size], [], mine)
        scores[size] = scores_by_note(dev, OnePassTagger(tagger_config(mine)))
    return scores


def _of_size(size: int, config: TaggerTrainConfig) -> TaggerTrainConfig:
    # Uncalibrated: temperatures are those of models of one size.
    to = str(Path(config.to) / f"notes-{size}")
    return config.model_copy(update={"to": to, "calibration": None})
