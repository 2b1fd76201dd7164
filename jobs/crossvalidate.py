"""Train and score a tagger fold by fold: every note is read by a model that has not seen it.

python jobs/crossvalidate.py --config conf/train_tagger.yml --folds FOLDS.tsv --set to=build/folds/x
FOLDS.tsv has the columns note_id and fold. Trained folds are kept: started again, it goes on.
Writes TO/notes.json (counts by note), which `spanlake compare` sets against another run's, and
TO/calibration.json (temperatures for `calibration:` of a recipe) with TO/reliability.svg.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spanlake.core.errors import ConfigError
from spanlake.core.labels import load_labels
from spanlake.core.train_config import TaggerTrainConfig, load_train_config
from spanlake.models.scoring import pooled
from spanlake.report.bootstrap import intervals, lines, of_notes, write_notes
from spanlake.report.scores import table
from spanlake.spark.arguments import parser, run_job


def job(arguments: argparse.Namespace) -> int:
    config = load_train_config(arguments.config, arguments.overrides)
    if not isinstance(config, TaggerTrainConfig):
        raise ConfigError("only kind: tagger is trained by folds")
    from spanlake.report.reliability import figure
    from spanlake.report.reliability import lines as reliability_lines
    from spanlake.training.datasets import read_gold
    from spanlake.training.folds import calibrate, out_of_fold, read_folds, train_folds
    from spanlake.training.recipe import write_json

    labels = load_labels(config.labels)
    folders = (*config.folders, *([Path(config.dev)] if config.dev else []))
    notes = read_gold(folders, labels)
    folds = train_folds(notes, read_folds(arguments.folds), config)
    scores = out_of_fold(folds)
    by_note = of_notes(scores)
    to = Path(config.to)
    write_notes(by_note, to / "notes.json")
    print(table(pooled(scores.values(), labels)))
    print(lines(intervals(by_note)))
    calibration, judged = calibrate(folds, labels)
    write_json(to / "calibration.json", calibration.as_dict())
    (to / "reliability.svg").write_text(figure(judged), encoding="utf-8")
    print(f"calibrated on the same notes: {calibration}")
    print(reliability_lines(judged))
    return 0


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__))
    options.add_argument("--folds", type=Path, required=True, help="tab-separated note_id and fold")
    return run_job(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
