"""SQL on the tables of a configuration, its result printed as a table.

python jobs/query.py --config conf/extract_demo.yml "SELECT * FROM current_entities"
python jobs/query.py --config conf/extract_demo.yml --file sql/entities_per_label.sql
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from spanlake.config.extract import ExtractConfig, load_config
from spanlake.spark.arguments import parser, run_job
from spanlake.spark.queries import open_tables, read_query, show_query
from spanlake.spark.session import get_session
from spanlake.spark.tables import Tables

WIDTH = 60  # of a cell; a note's text would fill the screen


def job(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    sql = arguments.sql if arguments.file is None else read_query(arguments.file)
    tables = Tables(get_session("spanlake query"), config.tables)
    tables.require_layout()
    open_tables(tables)
    show_query(tables, sql, limit=arguments.limit, width=WIDTH)
    return 0


def main(argv: list[str] | None = None) -> int:
    arguments = parser(str(__doc__), "conf/extract_*.yml, for its tables", ExtractConfig)
    what = arguments.add_mutually_exclusive_group(required=True)
    what.add_argument("sql", nargs="?", metavar="SQL", help="a query, in quotes")
    what.add_argument("--file", type=Path, help="a file that holds one, for instance of sql/")
    arguments.add_argument("--limit", type=int, default=20, help="rows to print; default: 20")
    return run_job(job, arguments.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
