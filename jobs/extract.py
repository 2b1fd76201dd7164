"""Entities and relations of all notes that have none yet, with timings and a status per note.

spark-submit jobs/extract.py --config conf/extract_bert.yml [--step plan|infer|derive|all]
"""

from __future__ import annotations

import argparse
import sys

from spanlake.core.config import ExtractConfig, load_config
from spanlake.spark.arguments import parser, run_job
from spanlake.spark.extract import STEPS, extract
from spanlake.spark.session import get_session
from spanlake.spark.summary import summary
from spanlake.spark.tables import Tables


def job(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    tables = Tables(get_session("spanlake extract"), config.tables)
    facts = extract(tables, config, arguments.step)
    tables.register_views()
    print(summary(tables, facts, arguments.step))
    return 0


def main(argv: list[str] | None = None) -> int:
    arguments = parser(str(__doc__), "conf/extract_*.yml", ExtractConfig)
    arguments.add_argument("--step", choices=STEPS, default="all", help="default: all")
    return run_job(job, arguments.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
