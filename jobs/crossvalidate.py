"""Cross-validation of a tagger: train a model per fold, score every note with its fold's model.

python jobs/crossvalidate.py --config conf/train_tagger.yml --folds FOLDS.tsv --set output_dir=DIR
FOLDS.tsv has the columns note_id and fold. Finished folds are not trained again. Writes
DIR/calibration.json (temperatures for `calibration:` of a configuration), DIR/reliability.svg and
DIR/notes.json (counts per note of calibrated predictions), which `spanlake compare` compares with
another run's; with --out into another folder. --only takes some folds, --with ensembles each fold
with those of other runs, --context N reads N neighbours on each side. `{fold}` in `model` stands
for the number of the fold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spanlake.config.train import TaggerTrainConfig, load_train_config
from spanlake.core.labels import load_labels
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
    from spanlake.training import crossvalidation, run_dir
    from spanlake.training.examples import read_gold

    labels, context = load_labels(config.labels), arguments.context
    out = arguments.out or Path(config.output_dir)
    folders = (*config.train_folders, *([Path(config.eval_data)] if config.eval_data else []))
    notes, fold_of = read_gold(folders, labels), crossvalidation.read_folds(arguments.folds)
    if 2 * context >= config.max_packed_sentences:
        raise ConfigError(
            f"--context {context} needs models trained with max_packed_sentences"
            f" {2 * context + 1} or more, found {config.max_packed_sentences}"
        )
    numbers = crossvalidation.fold_numbers(notes, fold_of, arguments.only)
    crossvalidation.validate_members(notes, fold_of, numbers, arguments.others, labels, context)
    out.mkdir(parents=True, exist_ok=True)  # before hours of training

    folds = crossvalidation.train_folds(notes, fold_of, config, arguments.only)
    folds = crossvalidation.as_ensembles(folds, arguments.others)
    folds = [crossvalidation.with_context(fold, context) for fold in folds]
    calibration = crossvalidation.calibrate(folds, labels)
    run_dir.write_json(out / "calibration.json", calibration.as_dict())

    scored = crossvalidation.out_of_fold(folds, calibration)
    evaluation = Evaluation(labels, scored, ReadReport())
    by_note = of_notes(evaluation.by_note)
    write_notes(by_note, out / "notes.json")
    print(table(evaluation.scores))
    print(lines(intervals(by_note)))
    outcomes = judged(evaluation.notes, labels)
    (out / "reliability.svg").write_text(reliability.figure(outcomes), encoding="utf-8")
    print(f"\ncalibrated on the same notes: {calibration}")
    print(reliability.lines(outcomes))
    return 0


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__), "conf/train_*.yml of kind: tagger", TaggerTrainConfig)
    options.add_argument("--folds", type=Path, required=True, help="tab-separated note_id and fold")
    options.add_argument("--only", type=int, nargs="+", default=[], metavar="K",
                         help="folds to train and score (default: all)")  # fmt: skip
    options.add_argument("--with", dest="others", type=Path, nargs="*", default=[], metavar="DIR",
                         help="folders of other runs over the same folds")  # fmt: skip
    options.add_argument("--context", type=int, choices=range(9), default=0, metavar="N",
                         help="neighbours to read (default: none)")  # fmt: skip
    options.add_argument("--out", type=Path, help="folder of the results (default: `output_dir`)")
    arguments = options.parse_args(argv)
    if arguments.out is None and (arguments.only or arguments.others or arguments.context):
        options.error(
            "--only, --with and --context need --out: `output_dir` keeps the scores of all folds"
        )
    return run_job(job, arguments)


if __name__ == "__main__":
    sys.exit(main())
