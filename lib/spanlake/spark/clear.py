"""Spark's errors about what a user wrote (a path, a condition, a query), as one line of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyspark.errors import (
    AnalysisException,
    ArithmeticException,
    DateTimeException,
    IllegalArgumentException,
    PySparkException,
)
from pyspark.sql import SparkSession

from spanlake.core.errors import ConfigError

# What a path, a name or an expression can do wrong; all else is a fault of ours or of the cluster.
PLAIN = re.compile(r"\w{1,64}")
VALUES = (ArithmeticException, DateTimeException, IllegalArgumentException)


@contextmanager
def clear_errors(what: str, fix: str) -> Iterator[None]:
    """Turn Spark's errors about `what` a user wrote into a ConfigError of one line with the fix.

    Of errors on values only the class is told: Spark quotes the value, which may be a note.
    """
    try:
        yield
    except AnalysisException as error:
        raise ConfigError(f"{what}: {first_line(error)}: {fix}") from None
    except VALUES as error:
        raise ConfigError(
            f"{what}: {error.getCondition() or type(error).__name__}: {fix}"
        ) from None


@contextmanager
def unlogged(spark: SparkSession) -> Iterator[None]:
    """Silence the log of a local Spark while it runs a user's condition: it quotes failed values.

    On a cluster every executor keeps a log of its own, which no driver can silence.
    """
    if not str(spark.conf.get("spark.master", "")).startswith("local"):
        yield
        return
    spark.sparkContext.setLogLevel("OFF")
    try:
        yield
    finally:
        spark.sparkContext.setLogLevel("ERROR")  # as get_session sets it


def is_missing(error: Exception) -> bool:
    """Tell whether Spark says that there is no such table (rather than that it cannot be read)."""
    marks = (
        "TABLE_OR_VIEW_NOT_FOUND",
        "DELTA_MISSING_DELTA_TABLE",
        "DELTA_PATH_DOES_NOT_EXIST",
        "DELTA_TABLE_NOT_FOUND",
        "PATH_NOT_FOUND",
        "SCHEMA_NOT_FOUND",
    )
    return any(mark in str(error) for mark in marks)


def first_line(error: PySparkException) -> str:
    """Return Spark's sentence without its code, its plan and its place in the query."""
    said = str(error).strip().splitlines()[0]
    # Suggestions are names of columns: of a file without a header they are its first note.
    return said.split(" SQLSTATE:")[0].split(" Did you mean")[0].rstrip(".; ")


def named(columns: Sequence[str]) -> str:
    """Return the columns that have a plain name, and how many have not: those may be note text."""
    plain = [name for name in columns if PLAIN.fullmatch(name)]
    others = len(columns) - len(plain)
    more = [f"{others} that are no plain names (is there a header line?)"] if others else []
    return ", ".join([*plain, *more])
