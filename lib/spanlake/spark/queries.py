"""Run the ready queries of `sql/`, or any other, on the tables of a place."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame

from spanlake.core.errors import ConfigError
from spanlake.spark.clear import clear_errors
from spanlake.spark.tables import Tables


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

    Raises ConfigError in one line when the query is wrong.
    """
    with clear_errors("query", "the tables and their columns are in docs/tables.md"):
        tables.spark.sql(sql).show(limit, truncate=width)


def read_query(path: Path) -> str:
    """Return the text of a file of `sql/`; raises ConfigError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no query can be read ({type(error).__name__})") from None


def title_of(path: Path) -> str:
    """Return the first comment line of a query, which says what it answers."""
    return read_query(path).splitlines()[0].removeprefix("-- ")
