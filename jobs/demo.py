"""The main job on the bundled notes, from text files to SQL, with the default model.

spark-submit jobs/demo.py      (or `make demo`, which sets up first)
It takes conf/ingest_demo.yml and conf/extract_demo.yml; docs/configuration.md has their keys.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spanlake.config.extract import ExtractConfig, IngestConfig, load_config
from spanlake.spark.arguments import run_job, table_of
from spanlake.spark.extract import extract
from spanlake.spark.ingest import ingest
from spanlake.spark.queries import open_tables, read_query, show_query, title_of
from spanlake.spark.session import get_session
from spanlake.spark.summary import summary
from spanlake.spark.tables import Tables

ROOT = Path(__file__).resolve().parent.parent
QUERIES = (
    "entities_per_label",
    "drugs_with_strength_and_frequency",
    "affirmed_problems",
    "note_states",
    "offset_violations",
)


def job(arguments: argparse.Namespace) -> int:
    source = load_config(IngestConfig, ROOT / "conf" / "ingest_demo.yml")
    config = load_config(ExtractConfig, ROOT / "conf" / "extract_demo.yml")
    tables = Tables(get_session("spanlake demo"), config.tables)
    counts = ingest(tables, source)
    print("ingested\n" + table_of(list(counts.items())))
    print(summary(tables, extract(tables, config)))
    open_tables(tables)
    for name in QUERIES:
        path = ROOT / "sql" / f"{name}.sql"
        print(f"\nsql/{name}.sql: {title_of(path)}")
        show_query(tables, read_query(path), limit=8, width=40)
    return 0


def main(argv: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    return run_job(job, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
