"""Train a tagger on more and more notes, and score each model on the recipe's `dev` notes.

python jobs/learning_curve.py --config conf/train_tagger.yml --sizes 10 20 40 75 --set to=FOLDER
The smaller sets of notes lie within the larger ones. Trained sizes (TO/notes-N) are kept: started
again, it goes on. Writes TO/learning_curve.csv and TO/learning_curve.svg.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spanlake.config.train import TaggerTrainConfig, load_train_config
from spanlake.core.labels import load_labels
from spanlake.errors import ConfigError
from spanlake.scoring.bootstrap import of_notes
from spanlake.scoring.curve import figure, lines, points, write_csv
from spanlake.spark.arguments import parser, run_job


def job(arguments: argparse.Namespace) -> int:
    config = load_train_config(arguments.config, arguments.overrides)
    if not isinstance(config, TaggerTrainConfig):
        raise ConfigError("only kind: tagger is trained by sizes")
    if config.dev is None:
        raise ConfigError("a learning curve needs `dev`: the notes to score every model on")
    from spanlake.training.datasets import read_gold
    from spanlake.training.learning_curve import train_sizes

    labels, to = load_labels(config.labels), Path(config.to)
    notes, dev = read_gold(config.folders, labels), read_gold([Path(config.dev)], labels)
    scores = train_sizes(notes, dev, arguments.sizes, config)
    curve = points({size: of_notes(by_note) for size, by_note in scores.items()})
    write_csv(curve, to / "learning_curve.csv")
    (to / "learning_curve.svg").write_text(figure(curve), encoding="utf-8")
    print(f"per cent, 95 % interval over {len(dev)} notes\n{lines(curve)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__), "conf/train_*.yml of kind: tagger", TaggerTrainConfig)
    options.add_argument("--sizes", type=int, nargs="+", required=True, metavar="N",
                         help="how many notes to learn from: a model each")  # fmt: skip
    return run_job(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
