"""Train and score a tagger fold by fold: every note is read by a model that has not seen it.

python jobs/crossvalidate.py --config conf/train_tagger.yml --folds FOLDS.tsv --set to=build/folds/x
FOLDS.tsv has the columns note_id and fold. Trained folds are kept: started again, it goes on.
Writes TO/calibration.json (temperatures for `calibration:` of a recipe), TO/reliability.svg, and
TO/notes.json (counts by note of readings with these temperatures), which `spanlake compare` sets
against another run's; with --out into another folder than TO. --only takes some folds, --with
reads every fold by an ensemble, --context N with N neighbours on each side.
`{fold}` in the recipe's `model` stands for the fold's number.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from spanlake.config.train import TaggerTrainConfig, load_train_config
from spanlake.core.labels import LabelSet, load_labels
from spanlake.corpora import ReadReport
from spanlake.errors import ConfigError
from spanlake.scoring import reliability
from spanlake.scoring.bootstrap import intervals, lines, of_notes, write_notes
from spanlake.scoring.evaluation import Evaluation
from spanlake.scoring.judged import judged
from spanlake.scoring.scores import table
from spanlake.spark.arguments import parser, run_job


def job(arguments: argparse.Namespace) -> int:
    config = load_train_config(arguments.config, arguments.overrides)
    if not isinstance(config, TaggerTrainConfig):
        raise ConfigError("only kind: tagger is trained by folds")
    to, labels = arguments.out or Path(config.to), load_labels(config.labels)
    to.mkdir(parents=True, exist_ok=True)  # before hours of training
    folds = _folds(config, labels, arguments)
    _score(folds, labels, to)
    return 0


def _folds(config: TaggerTrainConfig, labels: LabelSet, arguments: argparse.Namespace) -> list[Any]:
    from spanlake.training.datasets import read_gold
    from spanlake.training.folds import (
        check_members,
        fold_numbers,
        joined_by,
        read_folds,
        read_with,
        train_folds,
    )

    folders = (*config.folders, *([Path(config.dev)] if config.dev else []))
    notes, known = read_gold(folders, labels), read_folds(arguments.folds)
    _check_neighbours(config, arguments.context)
    numbers = fold_numbers(notes, known, arguments.only)
    check_members(notes, known, numbers, arguments.others, labels, arguments.context)
    made = train_folds(notes, known, config, arguments.only)
    return [read_with(fold, arguments.context) for fold in joined_by(made, arguments.others)]


def _check_neighbours(config: TaggerTrainConfig, context: int) -> None:
    """Raise ConfigError, before hours of training, for neighbours that are not learnt with."""
    if 2 * context >= config.together:
        raise ConfigError(
            f"--context {context} needs models that learn {2 * context + 1}"
            f" sentences together: `together` is {config.together}"
        )


def _score(folds: list[Any], labels: LabelSet, to: Path) -> None:
    """Fit temperatures on what the folds' models say; score readings that have them."""
    from spanlake.training.folds import calibrate, out_of_fold
    from spanlake.training.recipe import write_json

    calibration = calibrate(folds, labels)
    write_json(to / "calibration.json", calibration.as_dict())
    found = Evaluation(labels, out_of_fold(folds, calibration), ReadReport())
    by_note = of_notes(found.by_note)
    write_notes(by_note, to / "notes.json")
    print(table(found.scores))
    print(lines(intervals(by_note)))
    told = judged(found.notes, labels)
    (to / "reliability.svg").write_text(reliability.figure(told), encoding="utf-8")
    print(f"\ncalibrated on the same notes: {calibration}")
    print(reliability.lines(told))


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__), "conf/train_*.yml of kind: tagger", TaggerTrainConfig)
    options.add_argument("--folds", type=Path, required=True, help="tab-separated note_id and fold")
    options.add_argument("--only", type=int, nargs="+", default=[], metavar="K",
                         help="folds to train and score (default: all)")  # fmt: skip
    options.add_argument("--with", dest="others", type=Path, nargs="*", default=[], metavar="TO",
                         help="folders of other runs over the same folds")  # fmt: skip
    options.add_argument("--context", type=int, choices=range(9), default=0, metavar="N",
                         help="neighbours to read with (default: none)")  # fmt: skip
    options.add_argument("--out", type=Path, help="folder of what is written (default: `to`)")
    arguments = options.parse_args(argv)
    if arguments.out is None and (arguments.only or arguments.others or arguments.context):
        options.error("--only, --with and --context need --out: TO keeps the scores of all folds")
    return run_job(job, arguments)


if __name__ == "__main__":
    sys.exit(main())
