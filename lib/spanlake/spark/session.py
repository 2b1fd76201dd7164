"""The Spark session: complete on a laptop, untouched on Databricks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from types import MappingProxyType

from pyspark import SparkConf, SparkContext
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession

from spanlake.errors import ConfigError

# They write the message of a failed query to stderr, and a value that cannot be cast may be a note.
QUOTING = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")
DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# Small jobs on one machine: 200 shuffle partitions and 50 snapshot partitions cost more than
# the work itself.
LOCAL = {
    "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.ui.showConsoleProgress": "false",
}
# Explicit because the defaults differ between Spark 4.0 and 4.2; UTC because a note's time must
# not depend on the machine that ingests it.
ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.legacy.javaCharsets": "true",  # else Spark 4 reads no windows-1252
    "spark.scheduler.mode": "FAIR",  # a run's heartbeat must not queue behind its tasks
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.pythonUDF.arrow.enabled": "false",
}

# those that a running session can still change
OF_SESSION = ("spark.sql.session.timeZone", "spark.sql.legacy.javaCharsets")


def delta_package() -> str:
    """Return the Maven coordinate that fits the installed pyspark and delta-spark.

    The name carries Spark's version: the unsuffixed jar is built for one Spark only.
    """
    major, minor, *_ = version("pyspark").split(".")
    return f"io.delta:delta-spark_{major}.{minor}_2.13:{version('delta-spark')}"


def get_session(app_name: str, settings: Mapping[str, str] = MappingProxyType({})) -> SparkSession:
    """Return the running session, or build one with Delta.

    On Databricks, over Spark Connect (SPARK_REMOTE) and in a session that is there already, only
    the settings of OF_SESSION are set. Elsewhere Delta's extension is switched on, and a local
    master gets the workers' Python and settings fit for one machine; what spark-submit was given
    wins over ours, and `settings` over both. pyspark's own loggers of failed queries, which quote
    values, are silenced everywhere. Raises ConfigError when spark-submit was started
    without Delta's jars.
    """
    for name in QUOTING:
        PySparkLogger.getLogger(name).disabled = True
    if "DATABRICKS_RUNTIME_VERSION" in os.environ or "SPARK_REMOTE" in os.environ:
        return _with_settings(SparkSession.builder.getOrCreate())
    active = SparkSession.getActiveSession()
    if active is not None:
        return _with_settings(active)
    spark = _builder(app_name, settings).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    _require_delta(spark)
    return spark


def _with_settings(spark: SparkSession) -> SparkSession:
    """Set what matters of ALWAYS on a session that somebody else has built."""
    for key in OF_SESSION:
        spark.conf.set(key, ALWAYS[key])
    return spark


def _builder(app_name: str, settings: Mapping[str, str]) -> SparkSession.Builder:
    given = _given()
    master = given.get("spark.master", "local[*]")
    defaults = {"spark.master": master, **ALWAYS, **DELTA}
    if master.startswith("local"):
        defaults |= LOCAL
        _set_worker_python(given)
    if not _submitted():
        defaults["spark.jars.packages"] = delta_package()
    builder = SparkSession.builder.appName(app_name)
    for key, value in {**defaults, **given, **settings}.items():
        builder = builder.config(key, value)
    return builder


def _submitted() -> bool:
    """Tell whether spark-submit started us: its JVM is there, and its jars are settled."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _given() -> dict[str, str]:
    """Return what spark-submit was given, by its flags and its defaults file."""
    if not _submitted():
        return {}
    SparkContext._ensure_initialized()
    return dict(SparkConf().getAll())


def _set_worker_python(given: Mapping[str, str]) -> None:
    """Let local workers run in the driver's environment, not in the system's python3."""
    if "spark.pyspark.python" not in given:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)


def _require_delta(spark: SparkSession) -> None:
    thread = spark._jvm.java.lang.Thread.currentThread()  # type: ignore[union-attr]
    try:
        thread.getContextClassLoader().loadClass(DELTA["spark.sql.extensions"])
    except Exception:  # py4j's, of a class that is not there
        raise ConfigError(
            "Delta's jars are not on Spark's class path: start with"
            f" `spark-submit --packages {delta_package()} ...`,"
            " or set SPARK_CONF_DIR=conf/spark, as the spark-submit of `make setup` does"
        ) from None
