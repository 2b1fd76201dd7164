"""Fine-tune the three models of `bert` on annotated notes (a brat folder), on this machine.

spark-submit jobs/train.py --config conf/train_bert.yml --set model=PATH_OR_NAME
Started again after a kill, it goes on from the last epoch. It needs no Spark: `python` will do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from spanlake.core.config import TrainConfig, load_config
from spanlake.core.corpora import GoldNote, read_brat
from spanlake.core.errors import ModelError
from spanlake.core.labels import load_labels
from spanlake.spark.arguments import parser, run_job


def job(arguments: argparse.Namespace) -> int:
    config = load_config(TrainConfig, arguments.config, arguments.overrides)
    try:
        from spanlake.training.bert import train_bert
    except ImportError as error:
        raise ModelError(
            f"training needs {error.name}: pip install 'spanlake[train]' (or make setup)"
        ) from None
    metrics = train_bert(_read(config.train, config), _read(config.dev, config), config)
    print(json.dumps(metrics, indent=2))
    print(f"model: {config.to}")
    return 0


def _read(folder: str | None, config: TrainConfig) -> list[GoldNote]:
    if folder is None:
        return []
    notes, report = read_brat(Path(folder), load_labels(config.labels))
    for problem in report.problems:
        sys.stderr.write(f"{problem}\n")
    return notes


def main(argv: list[str] | None = None) -> int:
    return run_job(job, parser(str(__doc__)).parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
