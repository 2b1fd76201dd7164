"""Entities and relations of all notes that have none yet, with timings and a status per note.

spark-submit jobs/extract.py --config conf/extract_bert.yml [--step plan|infer|derive|all]
"""

from __future__ import annotations

import argparse
import sys

from spanlake.config.extract import ExtractConfig, load_config
from spanlake.spark.arguments import parser, run_job
from spanlake.spark.extract import STEPS, extract
from spanlake.spark.session import get_session
from spanlake.spark.summary import summary
from spanlake.spark.tables import Tables


def job(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    tables = Tables(get_session("spanlake extract"), config.tables)
    facts = extract(
        tables,
        config,
        arguments.step,
        publish=arguments.publish,
        retry=arguments.retry == "quarantined",
        wait=arguments.wait,
    )
    if config.tables.database is not None:  # those of a folder would end with this session
        tables.register_views()
    print(summary(tables, facts, arguments.step))
    return 0


def main(argv: list[str] | None = None) -> int:
    arguments = parser(str(__doc__), "conf/extract_*.yml", ExtractConfig)
    arguments.add_argument("--step", choices=STEPS, default="all", help="default: all")
    arguments.add_argument(
        "--publish", action="store_true", help="let the views show this pipeline from now on"
    )
    arguments.add_argument(
        "--retry", choices=["quarantined"], help="read notes again that had been given up"
    )
    arguments.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=not sys.stdin.isatty(),
        help="watch the owner of an open plan, and take the plan over if it is dead;"
        " default: where no terminal is",
    )
    return run_job(job, arguments.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
