"""Where an evaluation goes: what is printed, and the files that were asked for."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from spanlake import __version__
from spanlake.config.base import codec_of
from spanlake.core.labels import LabelSet
from spanlake.corpora import ReadReport, read_annotated
from spanlake.errors import DataError
from spanlake.scoring.error_table import error_rows, write_rows
from spanlake.scoring.evaluation import Evaluation
from spanlake.scoring.groups import (
    GroupCounts,
    all_groups,
    check_groups,
    read_groups,
    read_strings,
)

ENCODING_HELP = (
    "of the .txt files, by any name that Python knows; default: utf-8. A byte order mark of UTF-8"
    " counts as a character, with utf-8-sig too: brat counts it"
)


def add_gold(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is scored."""
    parser.add_argument(
        "--gold", type=Path, required=True, metavar="GOLD",
        help="annotated notes: a brat folder (NAME.txt with NAME.ann), or a file of JSON lines",
    )  # fmt: skip
    parser.add_argument(
        "--predicted", type=Path, metavar="FOLDER",
        help="score this folder of NAME.ann files, not a model",
    )  # fmt: skip
    parser.add_argument("--encoding", default="utf-8", help=ENCODING_HELP)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that `write_reports` obeys."""
    parser.add_argument("--json", type=Path, help="write the scores to this file")
    parser.add_argument("--notes", type=Path, help="write the counts of each note to this file")
    parser.add_argument(
        "--groups", type=Path, help="file with columns note_id and group: scores by group in --json"
    )
    parser.add_argument(
        "--seen", type=Path, nargs="+", default=[], metavar="TRAIN_FOLDER",
        help="gold notes of the training: scores of strings that it has seen, and of others",
    )  # fmt: skip
    parser.add_argument("--errors", type=Path, help="write one JSON line a wrong entity, no text")


def validate_options(options: argparse.Namespace, labels: LabelSet) -> None:
    """Raise DataError for options that cannot be obeyed: a model reads for long."""
    for path in filter(None, (options.json, options.notes, options.errors)):
        check_file(path)
    for path in options.seen:
        if not path.exists():
            raise DataError(f"{path}: no such folder or file")
    if options.groups:
        notes, _ = read_annotated(options.gold, labels, codec_of(options.encoding))
        check_groups(read_groups(options.groups), (gold_note.note.note_id for gold_note in notes))


def write_reports(evaluation: Evaluation, options: argparse.Namespace) -> None:
    """Print the scores with their intervals, name on stderr what was left out, write the files.

    `options` holds the options of `add_outputs`. Raises DataError when `options.groups` lacks notes
    or a folder of `options.seen` cannot be read.
    """
    from spanlake.scoring.bootstrap import of_notes, write_notes  # numpy, as the next one
    from spanlake.scoring.evaluation_report import as_json, printed, summarize

    for whose in ("gold, ", "prediction, "):
        _warn(evaluation.report, whose)
    _warn_of_training_notes(evaluation)
    report = summarize(evaluation, _groups(evaluation, options))
    sys.stdout.write(printed(report))
    scored = _scored(evaluation, options)
    if options.json:
        _write(options.json, json.dumps({"scored": scored, **as_json(report)}, indent=2) + "\n")
    if options.notes:
        write_notes(of_notes(evaluation.by_note), options.notes)
    if options.errors:
        write_rows(options.errors, error_rows(evaluation.notes, evaluation.labels))


def check_file(path: Path) -> None:
    """Raise DataError where a file cannot be written because a folder has its name."""
    if path.is_dir():
        raise DataError(f"{path}: a folder, where a file is to be written")


def _scored(evaluation: Evaluation, options: argparse.Namespace) -> dict[str, str | None]:
    """Return what a file of scores is of: two of them can be told apart."""
    return {
        "gold": str(options.gold),
        "predicted": str(options.predicted) if options.predicted else None,
        "model": evaluation.model,
        "labels": evaluation.labels.name,
        "spanlake": __version__,
    }


def _groups(evaluation: Evaluation, options: argparse.Namespace) -> dict[str, GroupCounts]:
    """Return the groups that are asked for; names on stderr what is left out of `options.seen`."""
    given = read_groups(options.groups) if options.groups else None
    if not options.seen:
        return all_groups(evaluation, given)
    seen, left_out = read_strings(options.seen, evaluation.labels)
    _warn(left_out.named("--seen, "), "--seen, ")
    return all_groups(evaluation, given, seen)


def _warn(report: ReadReport, whose: str) -> None:
    """Name the problems of a report that are, say, the gold's, and then count them."""
    problems = [problem for problem in report.problems if problem.startswith(whose)]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if reasons := ReadReport(problems=problems).reasons:
        counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        sys.stderr.write(f"{whose}lines of annotation: {counted} (docs/evaluation.md)\n")


def _warn_of_training_notes(evaluation: Evaluation) -> None:
    if trained := evaluation.notes_in_training_data:
        sys.stderr.write(
            f"the model was trained on {len(trained)} of these {len(evaluation.notes)} notes:"
            f" {', '.join(trained[:10])}{', ...' * (len(trained) > 10)};"
            " these are not scores of new notes\n"
        )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
