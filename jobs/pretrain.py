"""Go on pretraining an encoder on notes without annotation (masked-language modelling).

python jobs/pretrain.py --config conf/pretrain_minilm.yml --set model=PATH_OR_NAME
Started again after a kill, it goes on from the last epoch. What it writes is a checkpoint to
fine-tune: jobs/train.py --set model=FOLDER.
"""

from __future__ import annotations

import argparse
import sys

from spanlake.config.extract import load_config
from spanlake.config.train import MaskedTrainConfig
from spanlake.spark.arguments import parser, print_training, run_job


def job(arguments: argparse.Namespace) -> int:
    config = load_config(MaskedTrainConfig, arguments.config, arguments.overrides)
    from spanlake.training.pretraining import pretrain

    return print_training(pretrain(config), config.to)


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__), "conf/pretrain_*.yml", MaskedTrainConfig)
    return run_job(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
