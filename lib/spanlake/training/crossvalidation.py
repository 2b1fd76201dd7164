"""Cross-validation: a model per fold, out-of-fold scores, and temperatures fitted on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from spanlake.config.extractors import TaggerConfig
from spanlake.config.train import TaggerTrainConfig
from spanlake.core.labels import LabelSet
from spanlake.corpora import GoldNote
from spanlake.corpora.note_table import read_note_table
from spanlake.errors import ConfigError, DataError
from spanlake.models.decoding import SMALLEST as TINY
from spanlake.models.decoding import Calibration, temperature_scaled
from spanlake.models.tagger.encoder import tag_counts
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.folder import checked
from spanlake.scoring.score_extractor import ScoredNote, scored_notes
from spanlake.training.examples import examples_of, gold_pair_labels, labelled_texts
from spanlake.training.leakage import require_disjoint, require_unseen, text_hashes
from spanlake.training.run_dir import require_single_process
from spanlake.training.tagger import tagger_config, train_tagger, validate_training

TEMPERATURES = 0.4 * 10 ** (np.arange(148) / 92)  # 0.4 to 16 in steps of 2.5 %


def read_folds(path: Path) -> dict[str, int]:
    """Return the fold of every note id, from a tab-separated file with `note_id` and `fold`."""
    try:
        return {note_id: int(fold) for note_id, fold in read_note_table(path, "fold").items()}
    except (ValueError, TypeError):
        raise DataError(f"{path}: a fold is no whole number") from None


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold's held-out notes, and the extractor that was trained without them."""

    held_out: list[GoldNote]
    extractor: TaggerConfig

    def load(self, calibration: Calibration | None = None) -> OnePassTagger:
        """Load the extractor, with other temperatures where some are given."""
        tagger = OnePassTagger(self.extractor)
        tagger.calibration = calibration or tagger.calibration
        return tagger


def fold_numbers(
    notes: Sequence[GoldNote], folds: Mapping[str, int], only: Collection[int] = ()
) -> list[int]:
    """Return the folds that the notes are in, or some of them; ConfigError for an empty fold."""
    numbers = {folds[gold.note.note_id] for gold in notes if gold.note.note_id in folds}
    if missing := set(only) - numbers:
        raise ConfigError(f"no note is in fold {', '.join(map(str, sorted(missing)))}")
    return sorted(set(only) or numbers)


def train_folds(
    notes: Sequence[GoldNote],
    folds: Mapping[str, int],
    config: TaggerTrainConfig,
    only: Collection[int] = (),
    *,
    export: bool = True,
) -> list[Fold]:
    """Train a model per fold, or for some folds `only`, into `config.output_dir`/fold-K.

    ``{fold}`` in `config.model` is the number of the fold. Everything is checked before the first
    fold is trained. Raises DataError for notes without a fold, ConfigError for a fold without
    notes, a base model trained on notes of the fold, or a folder with a model of another recipe.
    """
    require_single_process("cross-validation")
    without_fold = [gold.note.note_id for gold in notes if gold.note.note_id not in folds]
    if without_fold:
        raise DataError(f"{len(without_fold)} notes have no fold: {', '.join(without_fold[:10])}")
    if len({gold.note.note_id for gold in notes}) < len(notes):
        raise DataError("a note id occurs twice: folds are by note id")
    runs = []
    for number in fold_numbers(notes, folds, only):
        train_notes = [gold for gold in notes if folds[gold.note.note_id] != number]
        held_out = [gold for gold in notes if folds[gold.note.note_id] == number]
        fold_config = config.model_copy(
            update={
                "model": config.model.replace("{fold}", str(number)),
                "output_dir": str(Path(config.output_dir) / f"fold-{number}"),
                "calibration": None,  # temperatures are fitted on the predictions of these models
            }
        )
        require_disjoint(train_notes, held_out)
        require_unseen(fold_config.model, held_out)
        validate_training(train_notes, fold_config)
        runs.append((train_notes, held_out, fold_config))
    trained = []
    for train_notes, held_out, fold_config in runs:
        train_tagger(train_notes, [], fold_config, export=export)
        trained.append(Fold(held_out, tagger_config(fold_config)))
    return trained


def validate_members(
    notes: Sequence[GoldNote],
    folds: Mapping[str, int],
    numbers: Iterable[int],
    others: Sequence[Path],
    labels: LabelSet,
    context: int = 0,
) -> None:
    """Raise for cross-validations `others` that cannot be ensembled with one over the same folds.

    That is ConfigError for a missing fold, for less context in training than in reading, and for a
    model trained on notes of its fold; ModelError for another label set.
    """
    for number, other in product(numbers, others):
        member = other / f"fold-{number}"
        if not member.is_dir():
            raise ConfigError(f"--with {other}: no {member.name}; train that run first")
        trained_context = checked(member, labels).manifest.get("context", 0)
        if context > trained_context:
            raise ConfigError(f"{member} was trained with context {trained_context}, not {context}")
        held_out = [gold for gold in notes if folds.get(gold.note.note_id) == number]
        require_unseen(str(member), held_out)


def as_ensembles(folds: Sequence[Fold], others: Sequence[Path]) -> list[Fold]:
    """Return the folds with ensembles: each model with those of its fold in `others`."""
    if not others:
        return list(folds)
    ensembles = []
    for fold in folds:
        model = Path(str(fold.extractor.model))
        members = tuple(str(path) for path in (model, *(other / model.name for other in others)))
        update = {"model": None, "models": members}
        ensembles.append(replace(fold, extractor=fold.extractor.model_copy(update=update)))
    return ensembles


def with_context(fold: Fold, context: int) -> Fold:
    """Return the fold read with so many neighbours on each side."""
    return replace(fold, extractor=fold.extractor.model_copy(update={"context": context}))


def out_of_fold(folds: Sequence[Fold], calibration: Calibration | None = None) -> list[ScoredNote]:
    """Return every note, read by the model of its fold, with its scores."""
    return [
        scored for fold in folds for scored in scored_notes(fold.held_out, fold.load(calibration))
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Probabilities beside gold labels; words that no model saw are left out."""

    tags: np.ndarray  # [words, tags of all layers]
    gold_tags: np.ndarray
    pairs: np.ndarray  # [pairs of gold entities, relations]
    gold_pairs: np.ndarray


def predict(notes: Sequence[GoldNote], tagger: OnePassTagger) -> Predictions:
    """Have `tagger` read the sentences of notes that it was not trained on."""
    examples, _ = examples_of(notes, tagger.context)
    gold, _ = labelled_texts(
        examples, tagger.labels, max_pair_distance=tagger.config.max_pair_distance
    )
    texts = tagger.read([example.unit for example in examples])
    scored = tagger.pair_scores(texts, [example.gold.entities for example in examples])
    gold_pairs = [
        gold_pair_labels(example, pairs, tagger.labels, Counter())
        for example, (pairs, _) in zip(examples, scored, strict=True)
    ]
    seen = np.concatenate([text.seen for text in texts])
    return Predictions(
        np.concatenate([text.probabilities for text in texts])[seen],
        np.concatenate([text.tags for text in gold])[seen],
        np.concatenate([scores for _, scores in scored]),
        np.concatenate(gold_pairs),
    )


def calibrate(folds: Sequence[Fold], labels: LabelSet) -> Calibration:
    """Return temperatures fitted on all out-of-fold predictions; DataError for no text."""
    with_text = [fold for fold in folds if text_hashes(fold.held_out)]
    if not with_text:
        raise DataError("no notes to calibrate on")
    return fit_calibration([predict(fold.held_out, fold.load()) for fold in with_text], labels)


def fit_calibration(predictions: Sequence[Predictions], labels: LabelSet) -> Calibration:
    """Return the temperatures of greatest likelihood of the gold labels (arXiv 1706.04599)."""
    edges = np.cumsum(tag_counts(labels))[:-1]
    tags = np.split(np.concatenate([p.tags for p in predictions]), edges, axis=1)
    gold_tags = np.split(np.concatenate([p.gold_tags for p in predictions]), edges, axis=1)
    pairs = np.concatenate([p.pairs for p in predictions]).ravel()
    gold_pairs = np.concatenate([p.gold_pairs for p in predictions]).ravel()
    both = [np.stack((values, 1.0 - values), axis=-1) for values in (pairs, gold_pairs)]
    return Calibration(
        tuple(_temperature(*layer) for layer in zip(tags, gold_tags, strict=True)),
        _temperature(*both),
    )


def _temperature(probabilities: np.ndarray, gold: np.ndarray) -> float:
    """Return the temperature of least negative log likelihood; 1 where there are no rows."""
    if not len(probabilities):
        return 1.0
    losses = [
        -np.log(temperature_scaled(probabilities, t)[gold > 0.5] + TINY).mean()
        for t in TEMPERATURES
    ]
    return round(float(TEMPERATURES[int(np.argmin(losses))]), 3)
