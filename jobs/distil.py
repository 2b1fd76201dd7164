"""Train a small tagger on what larger ones, or several, say of notes without annotation.

python jobs/distil.py --config conf/distil_small.yml
Started again after a kill, it goes on. The student is finished on annotated notes:
jobs/train.py --set model=FOLDER.
"""

from __future__ import annotations

import argparse
import sys

from spanlake.config.extract import load_config
from spanlake.config.train import DistilConfig
from spanlake.spark.arguments import parser, print_training, run_job


def job(arguments: argparse.Namespace) -> int:
    config = load_config(DistilConfig, arguments.config, arguments.overrides)
    from spanlake.training.distilling import distil

    return print_training(distil(config), config.to)


def main(argv: list[str] | None = None) -> int:
    return run_job(job, parser(str(__doc__), "conf/distil_*.yml", DistilConfig).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
