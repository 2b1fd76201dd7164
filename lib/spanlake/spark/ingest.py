"""A source of notes into `notes`: checked as a whole, then merged; only changes are written."""

from __future__ import annotations

import logging

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from spanlake.core.config import IngestConfig
from spanlake.core.errors import DataError
from spanlake.core.units import NOTE_COLUMNS
from spanlake.spark.clear import running, shown
from spanlake.spark.sentences import has_text, update_sentences
from spanlake.spark.sources import TAKEN, conditions, notes_from
from spanlake.spark.tables import Tables

PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
CHANGES = ("new", "changed", "removed")
FACTS = (
    "rows_read", "rows_left_out", "rows_refused",
    "notes_new", "notes_changed", "notes_unchanged", "notes_removed", "notes_blank",
)  # fmt: skip
METADATA = [name for name in NOTE_COLUMNS if name not in ("note_id", "note_text")]


log = logging.getLogger(__name__)


def ingest(tables: Tables, config: IngestConfig) -> dict[str, int]:
    """Bring `notes` and `sentences` in step with the source; return what was read and changed.

    Every row that is read is left out by `where`, or its note is new, changed or unchanged.
    Raises DataError, and writes nothing, when the source has no rows, null ids or texts,
    duplicate ids, or text that was decoded with the wrong encoding, or when more stored notes
    would be removed than `removed_share` allows.
    """
    rows = notes_from(tables.spark, config.source)  # persisted: checked, compared and merged
    try:
        text = F.col("note_text").cast("binary")
        incoming = rows.where(TAKEN).withColumn("text_sha256", F.sha2(text, 256))
        with running(tables.spark, *conditions(config.source)):
            counts = _check(rows, config)
        log.info("%d notes read and checked", counts["notes_read"])
        counts |= _merge(tables, incoming, config)
        log.info(
            "notes: %d new, %d changed, %d removed", *(counts[f"notes_{one}"] for one in CHANGES)
        )
    finally:
        rows.unpersist()
    return counts | update_sentences(tables)


def facts_of(counts: dict[str, int]) -> dict[str, int]:
    """Return the columns of `runs` that tell what an ingest did."""
    return {"notes": counts["notes_read"], **{name: counts[name] for name in FACTS}}


def _check(rows: DataFrame, config: IngestConfig) -> dict[str, int]:
    """Count the rows, and raise DataError with all that is wrong with those that are taken."""
    text, taken = F.col("note_text"), F.col(TAKEN)
    read = rows.agg(
        F.count("*").alias("rows_read"),
        F.count_if(~taken).alias("rows_left_out"),
        F.count_if(taken).alias("notes_read"),
        F.count_if(taken & F.col("note_id").isNull()).alias("null_ids"),
        F.count_if(taken & text.isNull()).alias("null_texts"),
        (F.count("note_id") - F.count_distinct("note_id")).alias("duplicate_ids"),
        F.count_if(text.contains("\ufffd")).alias("replacement"),
        F.count_if(text.isNotNull() & ~has_text()).alias("notes_blank"),
    ).collect()[0]
    problems = _problems(read.asDict(), config)
    if read.duplicate_ids:
        problems.append(_repeated(rows, read.duplicate_ids))
    if problems:
        raise DataError(f"{read.notes_read} notes read, none written: " + "; ".join(problems))
    counted = {name: read[name] for name in ("rows_read", "rows_left_out")}
    notes = {name: read[name] for name in ("notes_read", "notes_blank")}
    return {**counted, "rows_refused": 0, **notes}


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


def _merge(tables: Tables, incoming: DataFrame, config: IngestConfig) -> dict[str, int]:
    """Merge by note_id; rows that have not changed are not written."""
    name = tables.ensure("notes")
    delete = config.removed_notes == "delete"
    changes = _changes(tables, incoming, delete=delete)
    _refuse_removal(changes, config.removed_share)
    if not any(changes[count] for count in ("notes_new", "notes_changed", "notes_removed")):
        return changes
    incoming.createOrReplaceTempView("spanlake_incoming")
    columns = [*NOTE_COLUMNS, "text_sha256"]
    sets = ", ".join(f"n.{c} = i.{c}" for c in columns)
    values = ", ".join(f"i.{c}" for c in columns)
    gone = " WHEN NOT MATCHED BY SOURCE THEN DELETE" if delete else ""
    tables.spark.sql(
        f"MERGE INTO {name} n USING spanlake_incoming i ON n.note_id = i.note_id"
        f" WHEN MATCHED AND NOT ({_same('n', 'i')}) THEN UPDATE SET {sets}"
        f" WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({values}){gone}"
    )
    tables.spark.catalog.dropTempView("spanlake_incoming")
    return changes


def _same(a: str, b: str) -> str:
    return " AND ".join(f"{a}.{c} <=> {b}.{c}" for c in ["text_sha256", *METADATA])


def _refuse_removal(changes: dict[str, int], share: float) -> None:
    gone = changes["notes_removed"]
    stored = gone + changes["notes_changed"] + changes["notes_unchanged"]
    if gone > share * stored:
        raise DataError(
            f"{gone} of {stored} stored notes are not in the source, more than removed_share"
            f" {share}: nothing has been written. Set removed_share=1 if they are to be deleted,"
            " removed_notes=keep if this source adds to them, or give it tables of its own"
        )


def _changes(tables: Tables, incoming: DataFrame, *, delete: bool) -> dict[str, int]:
    old = tables.read("notes").alias("n")
    pairs = old.join(incoming.alias("i"), F.expr("n.note_id = i.note_id"), "full")
    row = pairs.agg(
        F.count_if(F.expr("n.note_id IS NULL")).alias("notes_new"),
        F.count_if(F.expr(f"n.note_id = i.note_id AND NOT ({_same('n', 'i')})")).alias("changed"),
        F.count_if(F.expr(f"n.note_id = i.note_id AND {_same('n', 'i')}")).alias("unchanged"),
        F.count_if(F.expr("i.note_id IS NULL")).alias("removed"),
    ).collect()[0]
    return {
        "notes_new": row.notes_new,
        "notes_changed": row.changed,
        "notes_unchanged": row.unchanged,
        "notes_removed": row.removed if delete else 0,
    }


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
