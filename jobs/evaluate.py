"""Strict and relaxed scores of a model, or of a folder of predictions, on a brat folder.

spark-submit jobs/evaluate.py --gold FOLDER --config conf/extract_bert.yml --json scores.json
With `tables` in the configuration, `gold_entities`, `gold_relations` and `scores` are written too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spanlake.core.config import EvaluateConfig, TablesConfig, load_config
from spanlake.core.corpora import read_annotated
from spanlake.core.errors import ConfigError
from spanlake.core.labels import load_labels
from spanlake.models import model_fingerprint
from spanlake.report.delivery import add_outputs, check_given, deliver
from spanlake.report.evaluation import Evaluation, evaluate_folder
from spanlake.spark.arguments import parser, run_job
from spanlake.spark.evaluate import evaluate_with_spark, store_gold, store_scores
from spanlake.spark.runs import Run
from spanlake.spark.session import get_session
from spanlake.spark.tables import Tables


def job(arguments: argparse.Namespace) -> int:
    config = load_config(EvaluateConfig, arguments.config, arguments.overrides)
    check_given(arguments, load_labels(config.extractor.labels))
    evaluation = _evaluate(arguments, config)
    deliver(evaluation, arguments)
    if config.tables is not None:
        model = None if arguments.predicted else model_fingerprint(config.extractor)
        _store(arguments.gold, config, config.tables, evaluation, model)
    return 0


def _evaluate(arguments: argparse.Namespace, config: EvaluateConfig) -> Evaluation:
    if arguments.predicted:
        if arguments.config:
            raise ConfigError("give --predicted (a folder) or --config (a model), not both")
        labels = load_labels(config.extractor.labels)
        return evaluate_folder(arguments.gold, arguments.predicted, labels)
    return evaluate_with_spark(get_session("spanlake evaluate"), arguments.gold, config.extractor)


def _store(
    gold: Path,
    config: EvaluateConfig,
    where: TablesConfig,
    evaluation: Evaluation,
    model: str | None,
) -> None:
    tables = Tables(get_session("spanlake evaluate"), where)
    labels = load_labels(config.extractor.labels)
    corpus = "/".join(gold.resolve().parts[-2:])
    with Run(tables, "evaluate", config, model_fingerprint=model) as run:
        store_gold(tables, corpus, read_annotated(gold, labels)[0], labels)
        store_scores(tables, evaluation.scores, run_id=run.run_id, corpus=corpus, model=model)


def main(argv: list[str] | None = None) -> int:
    arguments = parser(str(__doc__), config_required=False)
    arguments.add_argument("--gold", type=Path, required=True, help="brat folder or JSON lines")
    arguments.add_argument("--predicted", type=Path, help="folder of .ann files to score")
    add_outputs(arguments)
    return run_job(job, arguments.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
