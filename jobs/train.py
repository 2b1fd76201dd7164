"""Train a model on annotated notes (brat folders), on this machine: `bert` or `tagger`.

spark-submit jobs/train.py --config conf/train_tagger.yml --set model=PATH_OR_NAME
Started again after a kill, it goes on from the last epoch. It needs no Spark: `python` will do, and
with several GPUs `accelerate launch` (a tagger only): batch_tokens are those of each GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from spanlake.config.train import (
    BertTrainConfig,
    TaggerTrainConfig,
    TrainConfig,
    load_train_config,
)
from spanlake.core.labels import load_labels
from spanlake.spark.arguments import parser, print_training, run_job
from spanlake.training.datasets import read_gold


def job(arguments: argparse.Namespace) -> int:
    config = load_train_config(arguments.config, arguments.overrides)
    from spanlake.training.folds import check_unlearnt
    from spanlake.training.processes import is_first

    trainer, labels = _trainer(config), load_labels(config.labels)
    dev = read_gold([Path(config.dev)], labels) if config.dev else []
    notes = read_gold(config.folders, labels)
    check_unlearnt(notes, dev, config)
    metrics = trainer(notes, dev, config)
    return print_training(metrics, config.to) if is_first() else 0


def _trainer(config: TrainConfig) -> Any:
    if isinstance(config, TaggerTrainConfig):
        from spanlake.training.tagger import train_tagger

        return train_tagger
    from spanlake.training.bert import train_bert

    return train_bert


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__), "conf/train_*.yml", BertTrainConfig, TaggerTrainConfig)
    return run_job(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
