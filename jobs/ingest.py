"""Notes from a source into the table `notes`.

spark-submit jobs/ingest.py --config conf/ingest_jsonl.yml --set source.path=notes.jsonl
"""

from __future__ import annotations

import argparse
import sys

from spanlake.config.extract import IngestConfig, load_config
from spanlake.spark.arguments import parser, run_job, table_of
from spanlake.spark.ingest import CHANGES, facts_of, ingest, length_percentiles
from spanlake.spark.runs import Run
from spanlake.spark.session import get_session
from spanlake.spark.tables import Tables


def job(arguments: argparse.Namespace) -> int:
    config = load_config(IngestConfig, arguments.config, arguments.overrides)
    tables = Tables(get_session("spanlake ingest"), config.tables)
    tables.require_layout()
    with Run(tables, "ingest", config) as run:
        counts = ingest(tables, config)
        run.facts |= facts_of(counts)
    if tables.config.database is not None:  # in a folder they would end with this session
        tables.register_views()
    print("ingested\n" + table_of(list(counts.items())))
    if any(counts[f"notes_{one}"] for one in CHANGES):
        print("characters per note\n" + table_of(length_percentiles(tables)))
    return 0


def main(argv: list[str] | None = None) -> int:
    options = parser(str(__doc__), "conf/ingest_*.yml", IngestConfig)
    return run_job(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
