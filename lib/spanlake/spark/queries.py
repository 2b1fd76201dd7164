"""Run the ready queries of `sql/` on the tables of a place."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame

from spanlake.spark.tables import Tables


def run_query(tables: Tables, path: Path) -> DataFrame:
    """Return a query's result; its table names are those of `tables` (see `register_views`)."""
    return tables.spark.sql(path.read_text(encoding="utf-8"))


def title_of(path: Path) -> str:
    """Return the first comment line of a query, which says what it answers."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("-- ")
