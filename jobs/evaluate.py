"""Strict and relaxed scores of a model, or of a folder of predictions, on a brat folder.

spark-submit jobs/evaluate.py --gold FOLDER --config conf/extract_bert.yml --json scores.json
With `tables` in the configuration, `gold_entities`, `gold_relations` and `scores` are written too.
"""

from __future__ import annotations

import argparse
import sys

from spanlake.config.base import codec_of
from spanlake.config.extract import EvaluateConfig, TablesConfig, load_config
from spanlake.core.labels import load_labels
from spanlake.corpora import read_annotated
from spanlake.errors import ConfigError
from spanlake.models import model_fingerprint
from spanlake.scoring.delivery import add_gold, add_outputs, check_given, deliver
from spanlake.scoring.evaluation import Evaluation, evaluate_folder
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
        _store(arguments, config, config.tables, evaluation, model)
    return 0


def _evaluate(arguments: argparse.Namespace, config: EvaluateConfig) -> Evaluation:
    codec = codec_of(arguments.encoding)
    if arguments.predicted:
        if arguments.config:
            raise ConfigError("give --predicted (a folder) or --config (a model), not both")
        labels = load_labels(config.extractor.labels)
        return evaluate_folder(arguments.gold, arguments.predicted, labels, codec)
    spark = get_session("spanlake evaluate")
    return evaluate_with_spark(spark, arguments.gold, config.extractor, codec)


def _store(
    arguments: argparse.Namespace,
    config: EvaluateConfig,
    where: TablesConfig,
    evaluation: Evaluation,
    model: str | None,
) -> None:
    tables = Tables(get_session("spanlake evaluate"), where)
    labels = load_labels(config.extractor.labels)
    corpus = "/".join(arguments.gold.resolve().parts[-2:])
    gold, _ = read_annotated(arguments.gold, labels, codec_of(arguments.encoding))
    with Run(tables, "evaluate", config, model_fingerprint=model) as run:
        store_gold(tables, corpus, gold, labels)
        store_scores(tables, evaluation.scores, run_id=run.run_id, corpus=corpus, model=model)


def main(argv: list[str] | None = None) -> int:
    configs = "conf/extract_*.yml; default: the bundled model, nothing stored"
    arguments = parser(str(__doc__), configs, EvaluateConfig, config_required=False)
    add_gold(arguments)
    add_outputs(arguments)
    return run_job(job, arguments.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
