"""Score brat folders: predictions from a folder, or from an extractor that reads the notes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from spanlake.core.corpora import ReadReport, read_ann, read_brat, require_folder
from spanlake.core.counts import Counts, Scores
from spanlake.core.errors import DataError
from spanlake.core.labels import LabelSet
from spanlake.core.scoring import score_note
from spanlake.models import Extractor
from spanlake.models.scoring import pooled, scores_by_note
from spanlake.report.scores import table, to_json

REFUSED = ("unknown_relation", "relation_not_allowed", "lost_relation", "dangling_relation")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Pooled scores, those of each note by its id, and what the readers had to leave out."""

    scores: Scores
    by_note: Mapping[str, Scores]
    report: ReadReport


def evaluate_folder(gold_folder: Path, predicted_folder: Path, labels: LabelSet) -> Evaluation:
    """Score `PREDICTED/NAME.ann` against `GOLD/NAME.ann`, for every gold note.

    Raises DataError when a folder is missing, and with the ids when prediction files are.
    """
    require_folder(predicted_folder, "predictions (.ann)")
    gold, report = read_brat(gold_folder, labels)
    names = [note.note.note_id for note in gold]
    missing = [name for name in names if not (predicted_folder / f"{name}.ann").is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} notes have no prediction file in {predicted_folder}:"
            f" {', '.join(missing[:10])}"
        )
    by_note: dict[str, Scores] = {}
    for one in gold:
        path = predicted_folder / f"{one.note.note_id}.ann"
        predicted, problems = read_ann(path, one.note, labels)
        report.add(problems)
        scores = score_note(one.annotation, predicted.annotation, labels)
        by_note[one.note.note_id] = _with_refused(scores, problems)
    return Evaluation(pooled(by_note.values(), labels), by_note, report)


def _with_refused(scores: Scores, problems: ReadReport) -> Scores:
    """Count predicted relations that the reader refused as wrong, which they are."""
    wrong = Counts(fp=sum(problems.counts[reason] for reason in REFUSED))
    return replace(
        scores,
        relations_strict=scores.relations_strict + wrong,
        relations_relaxed=scores.relations_relaxed + wrong,
    )


def evaluate_extractor(gold_folder: Path, extractor: Extractor) -> Evaluation:
    """Score an extractor on a brat folder, relations on gold entities included."""
    gold, report = read_brat(gold_folder, extractor.labels)
    by_note = scores_by_note(gold, extractor)
    return Evaluation(pooled(by_note.values(), extractor.labels), by_note, report)


def deliver(evaluation: Evaluation, json_file: Path | None, notes_file: Path | None) -> None:
    """Print the scores with their intervals, name on stderr what was left out, write the files.

    `notes_file` gets the counts of each note, for `spanlake compare`.
    """
    from spanlake.report.bootstrap import intervals, lines, of_notes, write_notes  # numpy

    sys.stdout.write(table(evaluation.scores) + "\n")
    notes = of_notes(evaluation.by_note)
    sys.stdout.write("per cent, 95 % interval over notes\n" + lines(intervals(notes)) + "\n")
    for problem in evaluation.report.problems:
        sys.stderr.write(f"{problem}\n")
    if json_file is not None:
        text = json.dumps(to_json(evaluation.scores), indent=2)
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(text + "\n", encoding="utf-8")
    if notes_file is not None:
        write_notes(notes, notes_file)
