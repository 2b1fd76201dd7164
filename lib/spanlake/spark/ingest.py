"""A source of notes into `notes`: checked as a whole, then merged; only changes are written.

The source is read twice, and kept nowhere in between: once for the checks and the comparison with
what is stored, which need hashes of the notes only, and once for the notes that are new or changed.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from spanlake.config.extract import IngestConfig
from spanlake.core.types import NOTE_COLUMNS
from spanlake.errors import DataError
from spanlake.spark.runs import CONFLICT
from spanlake.spark.sources import FAULT, TAKEN, conditions, notes_from, refuse_faults
from spanlake.spark.sql_errors import evaluating_user_sql, shown, silence_spark_log
from spanlake.spark.tables import Tables

PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
CHANGES = ("new", "changed", "removed")
FACTS = (
    "rows_read", "rows_left_out", "rows_refused",
    "notes_new", "notes_changed", "notes_unchanged", "notes_removed", "notes_blank",
)  # fmt: skip
METADATA = [name for name in NOTE_COLUMNS if name not in ("note_id", "note_text")]
COLUMNS = [*NOTE_COLUMNS, "text_sha256"]
COUNTED = (
    "rows_read", "rows_left_out", "faults", "notes_read", "null_ids", "null_texts", "replacement",
    "notes_blank",
)  # fmt: skip
SUMS = (
    *COUNTED, "duplicate_ids", "stored",
    "notes_new", "notes_changed", "notes_unchanged", "notes_removed",
)  # fmt: skip
# A note's state in 64 bits: null and the empty text differ, and so do two columns exchanged.
MARK = f"xxhash64(note_id, text_sha256, {', '.join(f'{c}, {c} IS NULL' for c in METADATA)})"
ATTEMPTS = 2  # the comparison, and once more when another ingest has written since
# Ids of changed notes come to the driver in groups, at most this many of each (half a million
# in all). Where there are more, the MERGE takes the whole source and leaves out what is the same.
GROUPS, IDS_A_GROUP = 1024, 512

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Comparison:
    """What the source is against one state of `notes`; None for ids that are too many to name."""

    counts: dict[str, int]
    version: int | None  # of `notes`; None: there is none yet
    stored: int
    checksum: int  # of the marks of the stored notes
    written: Sequence[str] | None  # ids of new and changed notes
    gone: Sequence[str] | None  # ids of stored notes that the source lacks


def ingest(tables: Tables, config: IngestConfig) -> dict[str, int]:
    """Bring `notes` in step with the source; return what was read and changed.

    Every row that is read is left out by `where`, or its note is new, changed or unchanged.
    Raises DataError, and writes nothing, when the source has no rows, null ids or texts,
    duplicate ids, or text that was decoded with the wrong encoding, or when more stored notes
    would be removed than `removed_share` allows; and when other ingests keep writing to `notes`.
    """
    rows = notes_from(tables.spark, config.source)
    for _ in range(ATTEMPTS):
        comparison = _compare(tables, rows, config)
        counts = comparison.counts
        log.info("%d notes read and checked", counts["notes_read"])
        if not any(counts[f"notes_{kind}"] for kind in CHANGES) or _merge(tables, rows, comparison):
            changes = [counts[f"notes_{kind}"] for kind in CHANGES]
            log.info("notes: %d new, %d changed, %d removed", *changes)
            return counts
        log.info("another ingest has written to notes: comparing anew")
    raise DataError("another ingest is writing to notes: start it again")


def facts_of(counts: dict[str, int]) -> dict[str, int]:
    """Return the columns of `runs` that tell what an ingest did."""
    return {"notes": counts["notes_read"], **{name: counts[name] for name in FACTS}}


def has_text() -> Column:
    """Tell whether note_text has anything but white space, as the splitter understands it."""
    return F.col("note_text").rlike(r"[^\s\p{Z}\x1c-\x1f\x85\x{FEFF}]")


def _compare(tables: Tables, rows: DataFrame, config: IngestConfig) -> _Comparison:
    """Check the source and compare it with `notes`; raises DataError with all that is wrong."""
    version = tables.version("notes") if tables.exists("notes") else None
    stored = None if version is None else tables.read("notes", version)
    comparison = compared(rows, stored)
    with evaluating_user_sql(tables.spark, *conditions(config.source)):
        groups = comparison.collect()
        total = {name: sum(group[name] for group in groups) for name in SUMS}
        _refuse_rows(total, rows, config)
    if config.removed_notes == "keep":
        total["notes_removed"] = 0
    _refuse_removal(total, config.removed_share)
    checksum = 0
    for group in groups:
        checksum ^= group.checksum or 0
    counts = {name: total[name] for name in ("rows_read", "rows_left_out")} | {"rows_refused": 0}
    counts |= {name: total[name] for name in ("notes_read", "notes_blank")}
    changes = ("new", "changed", "unchanged", "removed")
    counts |= {f"notes_{kind}": total[f"notes_{kind}"] for kind in changes}
    ids = [_ids(groups, name) for name in ("written", "gone")]
    return _Comparison(counts, version, total["stored"], checksum, *ids)


def compared(rows: DataFrame, stored: DataFrame | None) -> DataFrame:
    """Return counts and ids of changes, a row a group of notes, of a source and stored notes.

    Only ids, marks and counts are shuffled, never a text.
    """
    sides = _marked(rows)
    if stored is not None:
        old = stored.select("note_id", F.expr(MARK).alias("old"))
        sides = sides.unionByName(old, allowMissingColumns=True)
    held, same = F.col("notes_read") > 0, F.col("new") == F.col("old")
    was = F.col("old").isNotNull()
    note = sides.groupBy("note_id").agg(
        *[F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in COUNTED],
        F.max("new").alias("new"),
        F.max("old").alias("old"),
    )
    named = F.col("note_id").isNotNull()
    kinds = {
        "notes_new": named & held & ~was,
        "notes_changed": named & held & was & ~same,
        "notes_unchanged": named & held & was & same,
        "notes_removed": ~held & was,
    }
    written = kinds["notes_new"] | kinds["notes_changed"]
    # Before the first ingest all notes are new: nobody asks for their ids.
    written = written if stored is not None else F.lit(False)
    repeated = F.when(named & held, F.col("notes_read") - 1).otherwise(0)
    return note.groupBy(F.expr(f"pmod(xxhash64(note_id), {GROUPS})").alias("group")).agg(
        *[F.sum(name).alias(name) for name in COUNTED],
        F.sum(repeated).alias("duplicate_ids"),
        *[F.count_if(kind).alias(name) for name, kind in kinds.items()],
        F.count("old").alias("stored"),
        F.bit_xor("old").alias("checksum"),
        _some(written).alias("written"),
        _some(kinds["notes_removed"]).alias("gone"),
    )


def _marked(rows: DataFrame) -> DataFrame:
    """Return of each row its id, its mark, and what it counts as."""
    text, taken = F.col("note_text"), F.col(TAKEN)
    counted = {
        "rows_read": F.lit(True),
        "rows_left_out": ~taken,
        "faults": F.col(FAULT).isNotNull(),
        "notes_read": taken,
        "null_ids": taken & F.col("note_id").isNull(),
        "null_texts": taken & text.isNull(),
        "replacement": F.coalesce(text.contains("\ufffd"), F.lit(False)),
        "notes_blank": text.isNotNull() & ~has_text(),
    }
    return _hashed(rows).select(
        "note_id",
        F.when(taken, F.expr(MARK)).alias("new"),
        F.lit(None).cast("long").alias("old"),
        *[column.cast("long").alias(name) for name, column in counted.items()],
    )


def _hashed(rows: DataFrame) -> DataFrame:
    return rows.withColumn("text_sha256", F.sha2(F.col("note_text").cast("binary"), 256))


def _some(kind: Column) -> Column:
    """Return the ids of a kind in a group, and one more than are asked for if there are more."""
    return F.slice(F.collect_list(F.when(kind, F.col("note_id"))), 1, IDS_A_GROUP + 1)


def _ids(groups: Sequence[Row], name: str) -> list[str] | None:
    if any(len(group[name]) > IDS_A_GROUP for group in groups):
        return None
    return [note_id for group in groups for note_id in group[name]]


def _refuse_rows(total: dict[str, int], rows: DataFrame, config: IngestConfig) -> None:
    if total["faults"]:
        refuse_faults(rows)
    problems = _problems(total, config)
    if total["duplicate_ids"]:
        problems.append(_repeated(rows, total["duplicate_ids"]))
    if problems:
        raise DataError(f"{total['notes_read']} notes read, none written: " + "; ".join(problems))


def _problems(row: dict[str, int], config: IngestConfig) -> list[str]:
    fixes = {
        "null_ids": "rows have no note_id: map the right column in source.columns, or filter them"
        " with source.where",
        "null_texts": "notes have a null text: filter them with source.where (`... IS NOT NULL`);"
        " an empty text is allowed and is counted as blank",
    }
    problems = [f"{row[name]} {fix}" for name, fix in fixes.items() if row[name]]
    if not row["notes_read"]:
        problems.append("the source has no rows: check source.path and source.where")
    if row["replacement"] and config.source.replacement_characters == "refuse":
        problems.append(
            f"{row['replacement']} notes hold U+FFFD, the mark of a wrong encoding: set"
            f" source.encoding (now {config.source.encoding}), or"
            " source.replacement_characters: keep if the source really holds it"
        )
    return problems


def _repeated(notes: DataFrame, rows: int) -> str:
    counted = notes.where("note_id IS NOT NULL").groupBy("note_id").count().where("count > 1")
    first = [shown(row.note_id) for row in counted.orderBy("note_id").limit(5).collect()]
    return (
        f"{rows} rows repeat a note_id (first: {', '.join(first)}): ids must be unique, filter with"
        " source.where or make a new id"
    )


def _refuse_removal(changes: dict[str, int], share: float) -> None:
    gone, stored = changes["notes_removed"], changes["stored"]
    if gone > share * stored:
        raise DataError(
            f"{gone} of {stored} stored notes are not in the source, more than removed_share"
            f" {share}: nothing has been written. Set removed_share=1 if they are to be deleted,"
            " removed_notes=keep if this source adds to them, or give it tables of its own"
        )


def _merge(tables: Tables, rows: DataFrame, comparison: _Comparison) -> bool:
    """Write the changes in one MERGE; False, and nothing is written, if `notes` has changed.

    Inside the MERGE's transaction the stored notes are counted and summed up once more: its source
    is empty unless they are those of the comparison. What commits behind that is a conflict.
    """
    name, counts = tables.ensure("notes"), comparison.counts
    as_compared = (
        f"(SELECT count(*) = {comparison.stored}"
        f" AND coalesce(bit_xor({MARK}), 0) = {comparison.checksum} FROM {name})"
    )
    try:
        # Delta would log a conflict with its whole stack; an error that is not one is raised.
        with _view(_changes(tables, rows, comparison)) as view, silence_spark_log(tables.spark):
            done = tables.spark.sql(
                f"MERGE INTO {name} n USING (SELECT * FROM {view} WHERE {as_compared}) i"
                f" ON n.note_id = i.note_id {_clauses(counts)}"
            ).collect()[0]
    except Exception as error:
        if CONFLICT.search(str(error)[:500]):
            return False
        raise
    names = {"new": "inserted", "changed": "updated", "removed": "deleted"}
    expected = {kind: counts[f"notes_{kind}"] for kind in CHANGES}
    written = {kind: done[f"num_{names[kind]}_rows"] for kind in CHANGES}
    if any(written.values()) and written != expected:
        raise DataError(
            f"the source changed while it was read: {_format_counts(expected)} notes were to be"
            f" written, and {_format_counts(written)} were. Start the ingest again"
        )
    return any(written.values())


def _format_counts(changes: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in changes.items())


def _clauses(counts: dict[str, int]) -> str:
    """Return what the MERGE does: only what there is to do, for Delta has a short way to insert."""
    same = " AND ".join(f"n.{c} <=> i.{c}" for c in ["text_sha256", *METADATA])
    sets = ", ".join(f"n.{c} = i.{c}" for c in COLUMNS)
    clauses = {
        "removed": "WHEN MATCHED AND i.gone THEN DELETE",
        "changed": f"WHEN MATCHED AND NOT i.gone AND NOT ({same}) THEN UPDATE SET {sets}",
        "new": f"WHEN NOT MATCHED AND NOT i.gone THEN INSERT ({', '.join(COLUMNS)})"
        f" VALUES ({', '.join(f'i.{c}' for c in COLUMNS)})",
    }
    return " ".join(clause for kind, clause in clauses.items() if counts[f"notes_{kind}"])


def _changes(tables: Tables, rows: DataFrame, comparison: _Comparison) -> DataFrame:
    """Return the MERGE's source: new and changed notes with their texts, and the ids to delete."""
    notes = rows.where(TAKEN)
    if comparison.counts["notes_unchanged"] and comparison.written is not None:
        notes = notes.join(F.broadcast(_frame(tables, comparison.written)), "note_id", "left_semi")
    changes = _hashed(notes).select(*COLUMNS, F.lit(False).alias("gone"))
    if not comparison.counts["notes_removed"]:
        return changes
    if comparison.gone is not None:
        gone = _frame(tables, comparison.gone)
    else:
        stored = tables.read("notes", comparison.version).select("note_id")
        gone = stored.join(rows.where(TAKEN).select("note_id"), "note_id", "left_anti")
    return changes.unionByName(gone.withColumn("gone", F.lit(True)), allowMissingColumns=True)


def _frame(tables: Tables, ids: Sequence[str]) -> DataFrame:
    return tables.spark.createDataFrame([(note_id,) for note_id in ids], "note_id string")


@contextmanager
def _view(frame: DataFrame) -> Iterator[str]:
    """Give the frame a name of its own in its session while it is used."""
    name = f"spanlake_{uuid.uuid4().hex}"
    frame.createOrReplaceTempView(name)
    try:
        yield name
    finally:
        frame.sparkSession.catalog.dropTempView(name)


def length_percentiles(tables: Tables) -> list[tuple[str, int]]:
    """Return (name, characters) for the percentiles of note length, and the longest note."""
    points = ", ".join(map(str, PERCENTILES))
    row = tables.read("notes").selectExpr(
        f"percentile(length(note_text), array({points})) AS points", "max(length(note_text)) AS top"
    )
    points_row = row.collect()[0]
    names = [f"p{100 * p:.0f}" for p in PERCENTILES]
    values = [round(value) for value in points_row.points or ()]
    return [*zip(names, values, strict=False), ("max", points_row.top or 0)]
