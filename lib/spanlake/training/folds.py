"""Out-of-fold scores: every note is read by a model that was trained without it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from spanlake.config.extract import ExtractorConfig
from spanlake.config.train import TaggerTrainConfig, TrainConfig
from spanlake.core.labels import LabelSet
from spanlake.corpora import GoldNote
from spanlake.corpora.note_table import read_note_table
from spanlake.errors import ConfigError, DataError
from spanlake.models.tagger.calibration import Calibration
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.folder import checked
from spanlake.scoring.score_extractor import ScoredNote, scored_notes
from spanlake.training.apart import check_apart, check_unseen, learnt_by, texts_of
from spanlake.training.calibrating import fit_calibration, observe
from spanlake.training.processes import require_one
from spanlake.training.tagger import check_trainable, tagger_config, train_tagger


def read_folds(path: Path) -> dict[str, int]:
    """Return the fold of every note id, from a tab-separated file with `note_id` and `fold`."""
    try:
        return {note_id: int(fold) for note_id, fold in read_note_table(path, "fold").items()}
    except (ValueError, TypeError):
        raise DataError(f"{path}: a fold is no whole number") from None


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold's notes, and how they are read by models that have not seen them."""

    held_out: list[GoldNote]
    reading: ExtractorConfig

    def reader(self, calibration: Calibration | None = None) -> OnePassTagger:
        """Load the models, with other temperatures than their own where some are given."""
        tagger = OnePassTagger(self.reading)
        tagger.calibration = calibration or tagger.calibration
        return tagger


def train_folds(
    notes: Sequence[GoldNote],
    folds: Mapping[str, int],
    config: TaggerTrainConfig,
    only: Collection[int] = (),
) -> list[Fold]:
    """Train a model a fold, or for some folds `only`, into `config.to`/fold-K.

    A fold that is already trained by the same recipe is not trained again. Raises DataError for
    notes without a fold, ConfigError for a fold that no note is in and for
    a base that has learnt notes of the fold or a folder that holds another recipe's model, before
    anything is trained; ``{fold}`` in `config.model` is the number.
    """
    require_one("training by folds")
    _check(notes, folds)
    numbers = fold_numbers(notes, folds, only)
    plans = [_plan(number, notes, folds, config) for number in numbers]
    for learnt, _, mine in plans:  # all are sound, before hours of the first
        check_trainable(learnt, mine)
    trained = []
    for learnt, held_out, mine in plans:
        train_tagger(learnt, [], mine)
        trained.append(Fold(held_out, tagger_config(mine)))
    return trained


def _check(notes: Sequence[GoldNote], folds: Mapping[str, int]) -> None:
    strangers = [one.note.note_id for one in notes if one.note.note_id not in folds]
    if strangers:
        raise DataError(f"{len(strangers)} notes have no fold: {', '.join(strangers[:10])}")
    if len({one.note.note_id for one in notes}) < len(notes):
        raise DataError("a note id is given twice: folds are by note id")


def fold_numbers(
    notes: Sequence[GoldNote], folds: Mapping[str, int], only: Collection[int] = ()
) -> list[int]:
    """Return the folds that the notes are in, or `only` some; ConfigError where no note is."""
    there = {folds[one.note.note_id] for one in notes if one.note.note_id in folds}
    if missing := set(only) - there:
        raise ConfigError(f"no note is in fold {', '.join(map(str, sorted(missing)))}")
    return sorted(set(only) or there)


Plan = tuple[list[GoldNote], list[GoldNote], TaggerTrainConfig]


def _plan(
    number: int, notes: Sequence[GoldNote], folds: Mapping[str, int], config: TaggerTrainConfig
) -> Plan:
    """Return the notes that a fold's model learns, those it is scored on, and its recipe."""
    learnt = [one for one in notes if folds[one.note.note_id] != number]
    held_out = [one for one in notes if folds[one.note.note_id] == number]
    check_apart(learnt, held_out)
    base = config.model.replace("{fold}", str(number))
    check_unseen(base, held_out)
    to = str(Path(config.to) / f"fold-{number}")
    # Uncalibrated: temperatures are fitted on what these models say.
    return (
        learnt,
        held_out,
        config.model_copy(update={"model": base, "to": to, "calibration": None}),
    )


def check_unlearnt(
    notes: Sequence[GoldNote], scored: Sequence[GoldNote], config: TrainConfig
) -> None:
    """Raise DataError where `scored` are among what is learnt, ConfigError where they may be.

    What is learnt are the `notes`, and whatever the base has learnt before.
    """
    check_apart(notes, scored)
    if scored and learnt_by(config.model):
        raise ConfigError(
            f"{config.model} may have learnt the notes that are scored:"
            " start from an encoder, or train without scores (dev=null)"
        )


def check_members(
    notes: Sequence[GoldNote],
    folds: Mapping[str, int],
    numbers: Iterable[int],
    others: Sequence[Path],
    labels: LabelSet,
    context: int = 0,
) -> None:
    """Raise ConfigError or ModelError, before hours of training, for what `joined_by` cannot use.

    That is a fold that a run of `others` lacks, another label set, fewer neighbours than are to be
    read with, or a model that has learnt notes of its fold.
    """
    for number, other in product(numbers, others):
        member = other / f"fold-{number}"
        if not member.is_dir():
            raise ConfigError(f"--with {other}: no {member.name}; train that run first")
        learnt = checked(member, labels).manifest.get("context", 0)
        if context > learnt:
            raise ConfigError(f"{member} has learnt with {learnt} neighbours, not {context}")
        check_unseen(str(member), (one for one in notes if folds.get(one.note.note_id) == number))


def joined_by(folds: Sequence[Fold], others: Sequence[Path]) -> list[Fold]:
    """Return the folds read by ensembles: each model with those of its fold in `others`."""
    if not others:
        return list(folds)
    return [replace(fold, reading=_joined(fold.reading, others)) for fold in folds]


def _joined(reading: ExtractorConfig, others: Sequence[Path]) -> ExtractorConfig:
    mine = Path(str(reading.model))
    members = (mine, *(other / mine.name for other in others))
    return reading.model_copy(update={"model": None, "models": tuple(map(str, members))})


def read_with(fold: Fold, context: int) -> Fold:
    """Return the fold read with so many neighbours on each side, as many as a reading allows."""
    return replace(fold, reading=fold.reading.model_copy(update={"context": context}))


def out_of_fold(folds: Sequence[Fold], calibration: Calibration | None = None) -> list[ScoredNote]:
    """Return every note as it is read by the model of its fold, and scored."""
    return [one for fold in folds for one in scored_notes(fold.held_out, fold.reader(calibration))]


def calibrate(folds: Sequence[Fold], labels: LabelSet) -> Calibration:
    """Return temperatures fitted on all out-of-fold readings."""
    told = [fold for fold in folds if texts_of(fold.held_out)]
    return fit_calibration([observe(fold.held_out, fold.reader()) for fold in told], labels)
