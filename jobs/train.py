"""Train a model on annotated notes (brat folders), on this machine: `bert` or `tagger`.

spark-submit jobs/train.py --config conf/train_tagger.yml --set model=PATH_OR_NAME
A training that was killed resumes from its last epoch. It needs no Spark: `python` will do, and
with several GPUs `accelerate launch` (a tagger only): `max_tokens_per_batch` is that of each GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spanlake.config.train import BertTrainConfig, TaggerTrainConfig, load_train_config
from spanlake.core.labels import load_labels
from spanlake.spark.arguments import parser, print_training, run_job


def job(arguments: argparse.Namespace) -> int:
    config = load_train_config(arguments.config, arguments.overrides)
    from spanlake.training.bert import train_bert
    from spanlake.training.examples import read_gold
    from spanlake.training.leakage import require_valid_eval_notes
    from spanlake.training.run_dir import is_main_process
    from spanlake.training.tagger import train_tagger

    labels = load_labels(config.labels)
    notes = read_gold(config.train_folders, labels)
    eval_notes = read_gold([Path(config.eval_data)], labels) if config.eval_data else []
    require_valid_eval_notes(notes, eval_notes, config.model)
    if isinstance(config, BertTrainConfig):
        metrics = train_bert(notes, eval_notes, config)
    else:
        metrics = train_tagger(notes, eval_notes, config)
    return print_training(metrics, config.output_dir) if is_main_process() else 0


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__), "conf/train_*.yml", BertTrainConfig, TaggerTrainConfig)
    return run_job(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
