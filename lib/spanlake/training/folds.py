"""Out-of-fold scores: every note is read by a model that was trained without it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from spanlake.core.corpora import GoldNote
from spanlake.core.counts import Scores
from spanlake.core.errors import DataError
from spanlake.core.train_config import TaggerTrainConfig
from spanlake.models.scoring import scores_by_note
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.training.tagger import tagger_config, train_tagger


def read_folds(path: Path) -> dict[str, int]:
    """Return the fold of every note id, from a tab-separated file with `note_id` and `fold`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {
                row["note_id"]: int(row["fold"]) for row in csv.DictReader(file, delimiter="\t")
            }
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: no folds ({type(error).__name__}); needed: columns note_id and fold"
        ) from None


def out_of_fold(
    notes: Sequence[GoldNote], folds: Mapping[str, int], config: TaggerTrainConfig
) -> dict[str, Scores]:
    """Return every note's scores by the model of its fold; models go to `config.to`/fold-K.

    A fold that is already trained by the same recipe is not trained again. Raises DataError for
    notes without a fold.
    """
    strangers = [one.note.note_id for one in notes if one.note.note_id not in folds]
    if strangers:
        raise DataError(f"{len(strangers)} notes have no fold: {', '.join(strangers[:10])}")
    if len({one.note.note_id for one in notes}) < len(notes):
        raise DataError("a note id is given twice: folds are by note id")
    scores: dict[str, Scores] = {}
    for fold in sorted({folds[one.note.note_id] for one in notes}):
        mine = config.model_copy(update={"to": str(Path(config.to) / f"fold-{fold}")})
        train_tagger([one for one in notes if folds[one.note.note_id] != fold], [], mine)
        held_out = [one for one in notes if folds[one.note.note_id] == fold]
        scores |= scores_by_note(held_out, OnePassTagger(tagger_config(mine)))
    return scores
