"""Distillation: train a small tagger on the predictions of an ensemble for unlabelled notes.

python jobs/distil.py --config conf/distil_small.yml
A training that was killed resumes. The student is fine-tuned on annotated notes:
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
    from spanlake.training.distillation import distil

    return print_training(distil(config), config.output_dir)


def main(argv: list[str] | None = None) -> int:
    return run_job(job, parser(str(__doc__), "conf/distil_*.yml", DistilConfig).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
