"""Delta tables by name: where they are, made on first use, written once however often tried."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spanlake.core.config import TablesConfig
from spanlake.core.errors import ConfigError, DataError
from spanlake.spark.clear import is_missing
from spanlake.spark.schemas import TABLES, Table

log = logging.getLogger(__name__)

# Rows of the notes as they are now, by the pipeline that finished last (or is the only one yet).
CURRENT = (
    "SELECT t.* FROM {{{table}}} t LEFT SEMI JOIN {{notes}} n"
    " ON t.note_id = n.note_id AND t.text_sha256 = n.text_sha256"
    " WHERE t.pipeline_fingerprint = (SELECT max_by(pipeline_fingerprint,"
    " struct(finished_at IS NOT NULL, created_at)) FROM {{plans}})"
)
UNPROCESSED = (
    "SELECT n.note_id, n.patient_id, n.note_type, length(n.note_text) AS chars FROM {notes} n"
)
ENDED = CURRENT.format(table="note_status")
VIEWS = (  # of two with one name the last whose tables are there
    *((f"current_{t}", CURRENT.format(table=t)) for t in ("entities", "relations", "note_status")),
    ("quarantine", "SELECT s.* FROM {note_status} s WHERE s.state IN ('failed', 'quarantined')"),
    ("unprocessed_notes", UNPROCESSED),
    ("unprocessed_notes", f"{UNPROCESSED} LEFT ANTI JOIN ({ENDED}) s ON n.note_id = s.note_id"),
)
TEXTS = {"note_text", "text", "target", "left", "right", "head_text", "tail_text", "subject"}
UNCOUNTED = (T.ArrayType, T.MapType, T.StructType, T.BooleanType)  # Delta keeps none of these
# Extractions are appended wave by wave and read whole: files are compacted afterwards, by OPTIMIZE.
# A plan pins versions of its inputs; Delta refuses to read one older than its deleted files.
PROPERTIES = {
    "delta.deletedFileRetentionDuration": "interval 30 days",
    "delta.autoOptimize.optimizeWrite": "false",
    "delta.autoOptimize.autoCompact": "false",
}


@dataclass(frozen=True)
class Tables:
    """The tables of one place: a folder of Delta tables, or a schema of the catalog."""

    spark: SparkSession
    config: TablesConfig
    _made: set[str] = field(default_factory=set, repr=False)

    def name(self, table: str) -> str:
        """Return the table's SQL identifier."""
        if self.config.database is not None:
            return f"{self.config.database}.{table}"
        location = str(self.config.location)
        if "://" not in location and not location.startswith("dbfs:"):
            location = str(Path(location).resolve())
        return f"delta.`{location.rstrip('/')}/{table}`"

    def exists(self, table: str) -> bool:
        """Tell whether the table has been made."""
        place = self.name(table).removeprefix("delta.`").rstrip("`")
        if self.config.database is None and (Path(place) / "_delta_log").is_dir():
            return True  # a second faster than asking Spark
        try:
            self.spark.sql(f"DESCRIBE DETAIL {self.name(table)}").collect()
        except Exception as error:
            if is_missing(error):
                return False
            raise
        return True

    def ensure(self, table: str) -> str:
        """Make the table if it is not there, with its comments and constraints; return its name.

        A table of an earlier version gets the columns that it lacks; its rows have nulls there.
        """
        if table not in self._made:
            if self.exists(table):
                self._add_columns(table)
            else:
                self._make(table)
        self._made.add(table)
        return self.name(table)

    def _make(self, table: str) -> None:
        try:
            self.spark.sql(self._create(table))
        except Exception:
            if not self.exists(table):  # else another job has made it at the same time
                raise

    def _add_columns(self, table: str) -> None:
        """Add the columns of our schema that the table lacks; raises DataError for one not null."""
        lacking = self._lacking(table)
        if not lacking:
            return
        filled = [field.name for field in lacking if not field.nullable]
        if filled:
            raise DataError(
                f"table {table!r} at {self.name(table)} lacks {', '.join(filled)}, which may not be"
                " null, so it cannot be added: ingest and extract into a new place"
            )
        added = ", ".join(_column(field) for field in lacking)
        try:
            self.spark.sql(f"ALTER TABLE {self.name(table)} ADD COLUMNS ({added})")
        except Exception:
            if self._lacking(table):  # else another job has added them at the same time
                raise
        log.info("table %s: added %s", table, ", ".join(field.name for field in lacking))

    def _lacking(self, table: str) -> list[T.StructField]:
        there = {name.lower() for name in self.read(table).schema.names}
        return [f for f in TABLES[table].schema.fields if f.name.lower() not in there]

    def _create(self, table: str) -> str:
        spec = TABLES[table]
        columns = ", ".join(_column(field) for field in spec.schema.fields)
        cluster = f" CLUSTER BY ({spec.cluster_by})" if spec.cluster_by else ""
        checks = {f"delta.constraints.{name}": sql for name, sql in spec.checks}
        checks["delta.dataSkippingStatsColumns"] = ",".join(_counted(spec))
        given = {**PROPERTIES, **dict(spec.properties), **checks}
        properties = ", ".join(f"'{k}' = '{v}'" for k, v in given.items())
        create = f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({columns}) USING DELTA"
        return f"{create}{cluster} TBLPROPERTIES ({properties})"

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """Return the table, at a pinned version if one is given; raises ConfigError if missing."""
        pin = "" if version is None else f" VERSION AS OF {version}"
        try:
            return self.spark.sql(f"SELECT * FROM {self.name(table)}{pin}")
        except Exception as error:
            if not is_missing(error):
                raise
            raise self._missing(table) from None

    def require(self, table: str) -> None:
        """Raise ConfigError if the table is missing."""
        if not self.exists(table):
            raise self._missing(table)

    def _missing(self, table: str) -> ConfigError:
        place = "schema" if self.config.database is not None else "location"
        return ConfigError(
            f"table {table!r} is not at {self.name(table)}: ingest first (jobs/ingest.py), or mend"
            f" tables.{place}"
        )

    def version(self, table: str) -> int:
        """Return the table's newest version."""
        history = self.spark.sql(f"DESCRIBE HISTORY {self.name(table)} LIMIT 1")
        return int(history.collect()[0]["version"])

    def rows_written(self, table: str) -> int:
        """Return how many rows the table's last commit wrote, from Delta's own count."""
        history = self.spark.sql(f"DESCRIBE HISTORY {self.name(table)} LIMIT 1")
        return int(history.collect()[0]["operationMetrics"].get("numOutputRows", 0))

    def append(self, table: str, rows: DataFrame, app: str | None = None, number: int = 0) -> None:
        """Append rows of the table's columns in one commit.

        With `app`, the commit carries the transaction (app, number): Delta skips it, without
        computing `rows`, when one with the same or a higher number has been made before.
        """
        writer = self._conform(table, rows).write.format("delta").mode("append")
        if app is not None:
            writer = writer.option("txnAppId", app).option("txnVersion", str(number))
        self._save(table, writer)

    def replace(self, table: str, rows: DataFrame, where: str) -> None:
        """Replace the rows that `where` selects by `rows`, in one commit."""
        writer = self._conform(table, rows).write.format("delta").mode("overwrite")
        self._save(table, writer.option("replaceWhere", where))

    def _save(self, table: str, writer: object) -> None:
        name = self.ensure(table)
        if self.config.database is not None:
            writer.saveAsTable(name)  # type: ignore[attr-defined]
        else:
            writer.save(name.removeprefix("delta.`").rstrip("`"))  # type: ignore[attr-defined]

    def _conform(self, table: str, rows: DataFrame) -> DataFrame:
        """Select the table's columns in order; columns that `rows` lacks are null."""
        columns = [
            (F.col(f.name) if f.name in rows.columns else F.lit(None))
            .cast(f.dataType)
            .alias(f.name)
            for f in TABLES[table].schema.fields
        ]
        return rows.select(*columns)

    def register_views(self) -> None:
        """Make the tables and the views on them queryable by name.

        In a folder all are temporary views of the session, in a catalog the views are views.
        Before the first extraction all notes are unprocessed, and there are no other views.
        """
        kind = "VIEW" if self.config.database is not None else "TEMPORARY VIEW"
        here = {table: self.name(table) for table in TABLES if self.exists(table)}
        if self.config.database is None:
            for table, name in here.items():
                self.spark.sql(f"CREATE OR REPLACE {kind} {table} AS SELECT * FROM {name}")
        for view, query in self._views(here).items():
            target = self.name(view) if self.config.database is not None else view
            self.spark.sql(f"CREATE OR REPLACE {kind} {target} AS {query}")

    def _views(self, here: Mapping[str, str]) -> dict[str, str]:
        """Return the queries of the views whose tables are here."""
        missing = [f"{{{table}}}" for table in TABLES if table not in here]
        ready = ((v, query) for v, query in VIEWS if not any(name in query for name in missing))
        return {view: query.format(**here) for view, query in ready}


def _counted(spec: Table) -> list[str]:
    """Return the columns that Delta may keep minima and maxima of: none that holds note text."""
    fields = [f for f in spec.schema.fields if not isinstance(f.dataType, UNCOUNTED)]
    return [f"`{f.name}`" for f in fields if f.name not in TEXTS]


def _column(field: object) -> str:
    name, kind = field.name, field.dataType.simpleString()  # type: ignore[attr-defined]
    null = "" if field.nullable else " NOT NULL"  # type: ignore[attr-defined]
    comment = field.metadata.get("comment", "").replace("'", "''")  # type: ignore[attr-defined]
    return f"`{name}` {kind}{null} COMMENT '{comment}'"
