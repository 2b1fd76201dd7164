"""Delta tables by name: where they are, made on first use, written once however often tried."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spanlake.config.extract import TablesConfig
from spanlake.errors import ConfigError, DataError
from spanlake.spark.schemas import TABLES, Table
from spanlake.spark.sql_errors import is_missing, storing

log = logging.getLogger(__name__)

# The pipeline whose rows are shown: the one that was published last, else the first that began.
PUBLISHED = (
    "(SELECT coalesce(max_by(pipeline_fingerprint, at) FILTER (WHERE event = 'published'),"
    " min_by(pipeline_fingerprint, at)) FROM {plan_events})"
)
TERMINAL = "('done', 'empty', 'quarantined')"
# Of each text the last plan that gave it a terminal status, else the last one.
STATUS = (
    "SELECT max_by(struct(s.*), struct(s.state IN " + TERMINAL + ", s.plan_number)) AS s"
    " FROM {note_status} s LEFT SEMI JOIN {notes} n"
    " ON s.note_id = n.note_id AND s.text_sha256 = n.text_sha256"
    " WHERE s.pipeline_fingerprint = " + PUBLISHED + " GROUP BY s.note_id, s.text_sha256"
)
# Rows of a note are shown with the terminal status of the plan that wrote them; who the note is of
# is what `notes` says now.
CURRENT = (
    "SELECT t.*, n.patient_id, n.encounter_id, n.note_type, n.note_datetime FROM {{{table}}} t"
    " JOIN (" + STATUS.replace("{", "{{").replace("}", "}}") + ") c"
    " ON t.note_id = c.s.note_id AND t.text_sha256 = c.s.text_sha256 AND t.plan_id = c.s.plan_id"
    " JOIN {{notes}} n ON t.note_id = n.note_id"
    " WHERE c.s.state IN "
    + TERMINAL
    + " AND t.pipeline_fingerprint = "
    + PUBLISHED.replace("{", "{{").replace("}", "}}")
)
CURRENT_STATUS = "SELECT s.* FROM (" + STATUS + ")"
SENTENCES = (
    "SELECT u.note_id, u.text_sha256, u.sentence_index, u.start, u.`end`, u.section,"
    " substring(n.note_text, u.start + 1, u.`end` - u.start) AS text, p.splitter_version"
    " FROM {plan_units} u JOIN {notes} n ON u.note_id = n.note_id AND u.text_sha256 = n.text_sha256"
    " JOIN (SELECT plan_id, plan_number, splitter_version FROM {plan_events}"
    " WHERE event = 'claimed' AND pipeline_fingerprint = " + PUBLISHED + ") p"
    " ON u.plan_id = p.plan_id"
    " JOIN (SELECT u2.note_id AS last_id, u2.text_sha256 AS last_sha, max(p2.plan_number) AS last"
    " FROM {plan_units} u2 JOIN {plan_events} p2 ON u2.plan_id = p2.plan_id"
    " WHERE p2.event = 'claimed' AND p2.pipeline_fingerprint = " + PUBLISHED + " GROUP BY 1, 2) l"
    " ON u.note_id = l.last_id AND u.text_sha256 = l.last_sha AND p.plan_number = l.last"
    " WHERE u.sentence_index IS NOT NULL"
)
UNPROCESSED = (
    "SELECT n.note_id, n.patient_id, n.note_type, length(n.note_text) AS chars FROM {notes} n"
)
VIEWS = (  # of two with one name the last whose tables are there
    *((f"current_{table}", CURRENT.format(table=table)) for table in ("entities", "relations")),
    ("current_note_status", CURRENT_STATUS),
    ("quarantine", f"SELECT * FROM ({CURRENT_STATUS}) WHERE state IN ('failed', 'quarantined')"),
    ("sentences", SENTENCES),
    ("timings", "SELECT plan_id, wave, timing.* FROM {extractions} WHERE timing IS NOT NULL"),
    ("unprocessed_notes", UNPROCESSED),
    (
        "unprocessed_notes",
        f"{UNPROCESSED} LEFT ANTI JOIN ({CURRENT_STATUS}) s ON n.note_id = s.note_id",
    ),
)
TEXTS = {"note_text", "text", "section", "head_text", "tail_text", "subject"}
UNCOUNTED = (
    T.ArrayType,
    T.BinaryType,
    T.BooleanType,
    T.MapType,
    T.StructType,
)  # Delta keeps none of these
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
        if self.config.database is None and any(self._log(table).glob("0*")):
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

    def _log(self, table: str) -> Path:
        """Return the folder of the table's commits, as a path of this machine."""
        return Path(self.name(table).removeprefix("delta.`").rstrip("`")) / "_delta_log"

    def _make(self, table: str) -> None:
        if self.config.database is None and self._log(table).is_dir():
            _remove_empty(self._log(table))
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
        filled = [field.name for field in lacking.values() if not field.nullable]
        if filled:
            raise DataError(
                f"table {table!r} at {self.name(table)} lacks {', '.join(filled)}, which may not be"
                " null, so it cannot be added: ingest and extract into a new place"
            )
        added = ", ".join(_column(field, name) for name, field in lacking.items())
        try:
            self.spark.sql(f"ALTER TABLE {self.name(table)} ADD COLUMNS ({added})")
        except Exception:
            if self._lacking(table):  # else another job has added them at the same time
                raise
        log.info("table %s: added %s", table, ", ".join(lacking).replace("`", ""))

    def _lacking(self, table: str) -> dict[str, T.StructField]:
        return dict(_fields_lacking(TABLES[table].schema, self.read(table).schema))

    def replace_empty(self, table: str) -> None:
        """Replace a table by an empty one of our schema; its earlier versions can still be read."""
        self.spark.sql(self._create(table, "REPLACE TABLE"))

    def _create(self, table: str, how: str = "CREATE TABLE IF NOT EXISTS") -> str:
        spec = TABLES[table]
        columns = ", ".join(_column(field) for field in spec.schema.fields)
        names = ", ".join(f"`{name}`" for name in spec.partitioned_by)
        partitions = f" PARTITIONED BY ({names})" if names else ""
        checks = {f"delta.constraints.{name}": sql for name, sql in spec.checks}
        checks["delta.dataSkippingStatsColumns"] = ",".join(_counted(spec))
        given = {**PROPERTIES, **dict(spec.properties), **checks}
        properties = ", ".join(f"'{k}' = '{v}'" for k, v in given.items())
        create = f"{how} {self.name(table)} ({columns}) USING DELTA"
        return f"{create}{partitions} TBLPROPERTIES ({properties})"

    def read(self, table: str, version: int | None = None) -> DataFrame:
        """Return the table, at a pinned version if one is given; raises ConfigError if missing."""
        pin = "" if version is None else f" VERSION AS OF {version}"
        query = f"SELECT * FROM {self.name(table)}{pin}"
        try:
            return self.spark.sql(query)
        except Exception as error:
            if not is_missing(error):
                raise
            if not self.exists(table):
                raise self._missing(table) from None
        # Delta answered from before another thread of this driver made the table.
        return self.spark.sql(query)

    def require(self, table: str) -> None:
        """Raise ConfigError if the table is missing."""
        if not self.exists(table):
            raise self._missing(table)

    def require_log_store(self) -> None:
        """Raise ConfigError for a place on S3 where two writers could both win a commit."""
        place = str(self.config.location or "")
        scheme = place.partition("://")[0]
        if scheme not in ("s3", "s3a", "s3n") or "DATABRICKS_RUNTIME_VERSION" in os.environ:
            return
        if not self.spark.conf.get(f"spark.delta.logStore.{scheme}.impl", None):
            raise ConfigError(
                f"tables.location is on {scheme}, where two jobs can both win one commit: set"
                f" spark.delta.logStore.{scheme}.impl to Delta's S3DynamoDBLogStore, or use"
                " tables.schema of a catalog that coordinates commits"
            )

    def is_old(self) -> bool:
        """Tell whether the tables are of an older layout, in which `sentences` was a table."""
        return self.exists("sentences")

    def require_layout(self) -> None:
        """Raise DataError for tables of an older layout, which have to be upgraded once."""
        if self.is_old():
            raise DataError(
                f"the tables at {self.name('notes')} are of an older layout: upgrade them once with"
                " `spanlake maintain --upgrade` (no text is read again)"
            )

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

    def append(self, table: str, rows: DataFrame, app: str | None = None, number: int = 0) -> None:
        """Append rows of the table's columns in one commit.

        With `app`, the commit carries the transaction (app, number): Delta skips it, without
        computing `rows`, when one with the same or a higher number has been made before.
        """
        writer = self._conform(table, rows).write.format("delta").mode("append")
        if app is not None:
            writer = writer.option("txnAppId", app).option("txnVersion", str(number))
        self._save(table, writer)

    def view(self, name: str) -> DataFrame:
        """Return a view as a frame, without making it; its tables are made where they lack."""
        query = dict(VIEWS)[name]
        here = {table: self.ensure(table) for table in TABLES if f"{{{table}}}" in query}
        return self.spark.sql(query.format(**here))

    def replace(self, table: str, rows: DataFrame, where: str) -> None:
        """Replace the rows that `where` selects by `rows`, in one commit."""
        writer = self._conform(table, rows).write.format("delta").mode("overwrite")
        self._save(table, writer.option("replaceWhere", where))

    def _save(self, table: str, writer: object) -> None:
        with storing(table):
            name = self.ensure(table)
            if self.config.database is not None:
                writer.saveAsTable(name)  # type: ignore[attr-defined]
            else:
                writer.save(name.removeprefix("delta.`").rstrip("`"))  # type: ignore[attr-defined]

    def _conform(self, table: str, rows: DataFrame) -> DataFrame:
        """Select the table's columns in order; columns and fields that `rows` lacks are null."""
        return rows.select(*_fields(F.col, rows.schema, TABLES[table].schema))

    def use(self) -> None:
        """Let the session call the tables and views by their bare names; ConfigError without notes.

        A catalog's schema becomes the current one; a folder gets temporary views.
        """
        self.require("notes")
        if self.config.database is None:
            self.register_views()
        else:
            self.spark.sql(f"USE {self.config.database}")

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


def _remove_empty(log: Path) -> None:
    """Remove the log of a table whose making was killed: without a commit, Delta makes no other."""
    with suppress(OSError):  # one that has a commit by now is not empty
        for temporary in log.glob(".*"):
            temporary.unlink()
        log.rmdir()


def _counted(spec: Table) -> list[str]:
    """Return the columns that Delta may keep minima and maxima of: none that holds note text."""
    fields = [f for f in spec.schema.fields if not isinstance(f.dataType, UNCOUNTED)]
    return [f"`{f.name}`" for f in fields if f.name not in (*TEXTS, *spec.partitioned_by)]


def _fields_lacking(
    ours: T.StructType, theirs: T.StructType, place: str = ""
) -> Iterator[tuple[str, T.StructField]]:
    """Yield the fields of ours that are not among theirs, those within structs too, by SQL name."""
    there = {f.name.lower(): f.dataType for f in theirs.fields}
    for one in ours.fields:
        name, kind = f"{place}`{one.name}`", one.dataType
        found = there.get(one.name.lower())
        if found is None:
            yield name, one
        while isinstance(kind, T.ArrayType) and isinstance(found, T.ArrayType):
            name, kind, found = f"{name}.element", kind.elementType, found.elementType
        if isinstance(kind, T.StructType) and isinstance(found, T.StructType):
            yield from _fields_lacking(kind, found, f"{name}.")


def _fields(
    column: Callable[[str], Column], found: T.StructType, wanted: T.StructType
) -> list[Column]:
    """Return the wanted fields by name, in order; those that were not found are null."""
    kinds = {f.name: f.dataType for f in found.fields}
    return [
        _cast(column(f.name), kinds[f.name], f.dataType).alias(f.name)
        if f.name in kinds
        else F.lit(None).cast(f.dataType).alias(f.name)
        for f in wanted.fields
    ]


def _cast(column: Column, found: T.DataType, wanted: T.DataType) -> Column:
    """Cast a column; structs by the names of their fields, where Spark goes by their order."""
    if found.simpleString() != wanted.simpleString():
        if isinstance(found, T.ArrayType) and isinstance(wanted, T.ArrayType):
            of, to = found.elementType, wanted.elementType
            column = F.transform(column, lambda element: _cast(element, of, to))
        elif isinstance(found, T.StructType) and isinstance(wanted, T.StructType):
            fields = _fields(column.getField, found, wanted)
            column = F.when(column.isNotNull(), F.struct(*fields))
    return column.cast(wanted)


def _column(field: object, name: str | None = None) -> str:
    name = name or f"`{field.name}`"  # type: ignore[attr-defined]
    kind = field.dataType.simpleString()  # type: ignore[attr-defined]
    null = "" if field.nullable else " NOT NULL"  # type: ignore[attr-defined]
    comment = field.metadata.get("comment", "").replace("'", "''")  # type: ignore[attr-defined]
    return f"{name} {kind}{null} COMMENT '{comment}'"
