"""The Spark session: complete on a laptop, untouched on Databricks."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf
from pyspark.sql import SparkSession

from spanlake.core.errors import ConfigError

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
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.pythonUDF.arrow.enabled": "false",
}


def delta_package() -> str:
    """Return the Maven coordinate that fits the installed pyspark and delta-spark.

    The name carries Spark's version: the unsuffixed jar is built for one Spark only.
    """
    major, minor, *_ = version("pyspark").split(".")
    return f"io.delta:delta-spark_{major}.{minor}_2.13:{version('delta-spark')}"


def get_session(app_name: str) -> SparkSession:
    """Return the running session, or build one with Delta.

    On Databricks nothing is added. Elsewhere Delta's extension is switched on, and a local
    master gets the workers' Python and settings fit for one machine. Raises ConfigError when
    spark-submit was started without Delta's jars.
    """
    if "DATABRICKS_RUNTIME_VERSION" in os.environ:
        return SparkSession.builder.getOrCreate()
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    spark = _builder(app_name, SparkConf()).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    _require_delta(spark)
    return spark


def _builder(app_name: str, given: SparkConf) -> SparkSession.Builder:
    """Return a builder with our settings, where `given` has not decided otherwise."""
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    master = given.get("spark.master", "local[*]")
    ours = {"spark.master": master, **ALWAYS, **DELTA}
    if master.startswith("local"):
        ours |= LOCAL
        _set_worker_python(given)
    if not submitted:  # under spark-submit the jars are resolved before Python starts
        ours["spark.jars.packages"] = delta_package()
    builder = SparkSession.builder.appName(app_name)
    for key, value in ours.items():
        if not given.contains(key):
            builder = builder.config(key, value)
    return builder


def _set_worker_python(given: SparkConf) -> None:
    """Let local workers run in the driver's environment, not in the system's python3."""
    if not given.contains("spark.pyspark.python"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)


def _require_delta(spark: SparkSession) -> None:
    thread = spark._jvm.java.lang.Thread.currentThread()  # type: ignore[union-attr]
    try:
        thread.getContextClassLoader().loadClass(DELTA["spark.sql.extensions"])
    except Py4JJavaError:
        raise ConfigError(
            "Delta's jars are not on Spark's class path: start with"
            f" `spark-submit --packages {delta_package()} ...`,"
            " or run `make setup`, which puts that into the environment's spark-defaults.conf"
        ) from None
