"""Run the ready queries of `sql/`, or any other, on the tables of a place."""

from __future__ import annotations

import re
from pathlib import Path

from pyspark.errors import ParseException
from pyspark.sql import DataFrame, SparkSession

from spanlake.errors import ConfigError
from spanlake.spark.clear import clear_errors, first_line
from spanlake.spark.tables import Tables

END = re.compile(r"[;\s]*(--[^\n'\"`]*\s*)*\Z")  # semicolons and comments behind a query
HINT = "the columns are in docs/tables.md; try_cast gives null for a value that does not fit"


def open_tables(tables: Tables) -> None:
    """Let queries of the session call the tables and views by their bare names.

    Raises ConfigError when nothing has been ingested there.
    """
    tables.require("notes")
    if tables.config.database is None:
        tables.register_views()
    else:
        tables.spark.sql(f"USE {tables.config.database}")  # whose views extract has made


def run_query(tables: Tables, path: Path) -> DataFrame:
    """Return a query's result; its table names are those of `tables` (see `open_tables`)."""
    return tables.spark.sql(read_query(path))


def show_query(tables: Tables, sql: str, *, limit: int, width: int) -> None:
    """Print the first rows of a query's result, cells cut at `width` characters.

    Raises ConfigError in one line when the query is wrong, or would change anything. Spark's own
    log is silent from here on: of a value that does not fit it quotes the value, a note's text.
    """
    tables.spark.sparkContext.setLogLevel("OFF")
    told = END.sub("", sql)
    _require_query(tables.spark, told)
    with clear_errors("query", HINT):
        tables.spark.sql(told).show(limit, truncate=width)


def _require_query(spark: SparkSession, sql: str) -> None:
    """Raise ConfigError for statements that may write: what runs wrote is not changed by hand.

    Only what reads can stand between these parentheses; EXPLAIN parses it and runs nothing.
    """
    try:
        spark.sql(f"EXPLAIN WITH asked AS (\n{sql}\n) SELECT 1")
    except ParseException as error:
        raise ConfigError(f"query: needed: one SELECT: {first_line(error)}") from None


def read_query(path: Path) -> str:
    """Return the text of a file of `sql/`; raises ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no query can be read ({type(error).__name__})") from None


def title_of(path: Path) -> str:
    """Return the first comment line of a query, which says what it answers."""
    return read_query(path).splitlines()[0].removeprefix("-- ")
