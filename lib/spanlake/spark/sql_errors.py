"""Spark's errors about what a user wrote (a path, a condition, a query), as one line of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession

from spanlake.errors import ConfigError, DataError

CAST = "compare text with text, and use functions that give null (try_cast)"
PLAIN = re.compile(r"\w{1,64}")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LONGEST = 64  # characters of an id in an error: what is longer may be a note, by a wrong column


@contextmanager
def clear_errors(what: str, fix: str) -> Iterator[None]:
    """Turn Spark's errors about `what` a user wrote into a ConfigError of one line with the fix.

    Of errors of running only the class is told: Spark quotes the value, which may be a note.
    """
    try:
        yield
    except AnalysisException as error:
        raise ConfigError(f"{what}: {first_line(error)}: {fix}") from None
    except PySparkException as error:
        condition = error.getCondition() or type(error).__name__
        raise ConfigError(f"{what}: {condition}: {fix}") from None
    except Exception as error:
        if not _is_java(error):
            raise
        kind = _root(error).getClass().getSimpleName()
        raise ConfigError(f"{what}: {kind}: {fix}") from None


def _is_java(error: Exception) -> bool:
    """Tell whether py4j passes on an error of Java's; py4j is not there under Spark Connect."""
    return type(error).__name__ == "Py4JJavaError"


def _root(error: Any) -> Any:
    """Return the innermost Java exception: pyspark does not translate every one."""
    cause = error.java_exception
    while cause.getCause() is not None:
        cause = cause.getCause()
    return cause


@contextmanager
def storing(table: str) -> Iterator[None]:
    """Turn an error of the storage (full, read-only, not to be reached) into one line of ours."""
    try:
        yield
    except Exception as error:
        if not _is_java(error):
            raise
        kind, message = _root(error).getClass(), _root(error).getMessage()
        name = kind.getSimpleName()
        while kind is not None and kind.getName() != "java.io.IOException":
            kind = kind.getSuperclass()
        if kind is None or message is None:  # a worker that has died is one without a message
            raise
        raise DataError(
            f"table {table!r} cannot be written: {on_one_line(message)} ({name}). What has"
            " been committed is kept: mend that, and start again"
        ) from None


@contextmanager
def evaluating_user_sql(spark: SparkSession, what: str, condition: str | None) -> Iterator[None]:
    """Run what first evaluates a user's condition: nothing of a note is quoted where it fails.

    Changes nothing without a condition: what fails then is told as it is.
    """
    if condition is None:
        yield
        return
    with silence_spark_log(spark), clear_errors(what, CAST):
        yield


@contextmanager
def silence_spark_log(spark: SparkSession) -> Iterator[None]:
    """Silence the log of a local Spark while it runs a user's condition: it quotes failed values.

    On a cluster every executor keeps a log of its own, which no driver can silence.
    """
    local = str(spark.conf.get("spark.master", "")).startswith("local")
    if not local or is_connect(spark):
        yield
        return
    spark.sparkContext.setLogLevel("OFF")
    try:
        yield
    finally:
        spark.sparkContext.setLogLevel("ERROR")  # as get_session sets it


def is_connect(spark: SparkSession) -> bool:
    """Tell whether the session is one of Spark Connect, which has no JVM of ours."""
    return not hasattr(spark, "_jsc")


def is_missing(error: Exception) -> bool:
    """Tell whether Spark says that there is no such table (rather than that it cannot be read)."""
    marks = (
        "TABLE_OR_VIEW_NOT_FOUND",
        "DELTA_MISSING_DELTA_TABLE",
        "DELTA_PATH_DOES_NOT_EXIST",
        "DELTA_TABLE_NOT_FOUND",
        "PATH_NOT_FOUND",
        "SCHEMA_NOT_FOUND",
        "EXPECT_TABLE_NOT_VIEW",  # of a name that an older version had for a table
    )
    return any(mark in str(error) for mark in marks)


def first_line(error: PySparkException) -> str:
    """Return Spark's sentence without its code, its plan and its place in the query."""
    message = str(error).strip().splitlines()[0]
    # Suggestions are names of columns: of a file without a header they are its first note.
    return message.split(" SQLSTATE:")[0].split(" Did you mean")[0].rstrip(".; ")


def named(columns: Sequence[str]) -> str:
    """Return the columns that have a plain name, and how many have not: those may be note text."""
    plain = [name for name in columns if PLAIN.fullmatch(name)]
    others = len(columns) - len(plain)
    more = [f"{others} that are no plain names (is there a header line?)"] if others else []
    return ", ".join([*plain, *more])


def on_one_line(name: str) -> str:
    """Return an id or a file's name without the line ends and the like that it may hold."""
    return CONTROL.sub("?", name)


def shown(note_id: str) -> str:
    """Return an id for an error; one that may be a note's text only by its length."""
    if len(note_id) > LONGEST:
        return f"an id of {len(note_id)} characters"
    return on_one_line(note_id)
