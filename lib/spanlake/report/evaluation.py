"""Score brat folders: predictions from a folder, or from an extractor that reads the notes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spanlake.core.corpora import GoldNote, ReadReport, read_ann, read_brat
from spanlake.core.errors import DataError
from spanlake.core.labels import LabelSet
from spanlake.core.scoring import Scores, no_scores, score_linked, score_note
from spanlake.core.spans import Annotation
from spanlake.models import Extractor
from spanlake.models.annotate import annotate, link
from spanlake.report.scores import table, to_json


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Pooled scores, and what the readers had to leave out of the files."""

    scores: Scores
    report: ReadReport


def evaluate_folder(gold_folder: Path, predicted_folder: Path, labels: LabelSet) -> Evaluation:
    """Score `PREDICTED/NAME.ann` against `GOLD/NAME.ann`, for every gold note.

    Raises DataError that names the ids when prediction files are missing.
    """
    gold, report = read_brat(gold_folder, labels)
    names = [note.note.note_id for note in gold]
    missing = [name for name in names if not (predicted_folder / f"{name}.ann").is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} notes have no prediction file in {predicted_folder}:"
            f" {', '.join(missing[:10])}"
        )
    scores = no_scores(labels)
    for one in gold:
        path = predicted_folder / f"{one.note.note_id}.ann"
        predicted, problems = read_ann(path, one.note, labels)
        report.add(problems)
        scores = scores + score_note(one.annotation, predicted.annotation, labels)
    return Evaluation(scores, report)


def evaluate_extractor(gold_folder: Path, extractor: Extractor) -> Evaluation:
    """Score an extractor on a brat folder, relations on gold entities included."""
    gold, report = read_brat(gold_folder, extractor.labels)
    return Evaluation(pooled(score_extractor(gold, extractor), extractor.labels), report)


def deliver(evaluation: Evaluation, json_file: Path | None) -> None:
    """Print the scores, name on stderr what the readers left out, and write the JSON file."""
    sys.stdout.write(table(evaluation.scores) + "\n")
    for problem in evaluation.report.problems:
        sys.stderr.write(f"{problem}\n")
    if json_file is not None:
        text = json.dumps(to_json(evaluation.scores), indent=2)
        json_file.write_text(text + "\n", encoding="utf-8")


def score_extractor(gold: Sequence[GoldNote], extractor: Extractor) -> list[Scores]:
    """Return one Scores a note, in order; raises DataError with the ids of notes that failed."""
    results = annotate([one.note for one in gold], extractor, "")
    pairs = list(zip(gold, results, strict=True))
    unread = [one.note.note_id for one, result in pairs if result.state not in ("done", "empty")]
    if unread:
        raise DataError(f"{len(unread)} notes could not be read: {', '.join(unread[:10])}")
    return [_score(one, result.annotation, extractor) for one, result in pairs]


def _score(one: GoldNote, predicted: Annotation, extractor: Extractor) -> Scores:
    scores = score_note(one.annotation, predicted, extractor.labels)
    linked = link(one.note, one.annotation, extractor)
    return replace(scores, gold_entities=score_linked([(one.annotation, linked)]))


def pooled(scores: Iterable[Scores], labels: LabelSet) -> Scores:
    """Return the sum of the notes' counts."""
    total = no_scores(labels)
    for one in scores:
        total = total + one
    return total
