"""Keep `sentences` in step with `notes`: only new and changed notes are split."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from spanlake.core.sentences import SPLITTER_VERSION, split
from spanlake.spark.schemas import TABLES
from spanlake.spark.tables import Tables

log = logging.getLogger(__name__)

KEY = ["note_id", "text_sha256"]
SCHEMA = TABLES["sentences"].schema
ARROW = to_arrow_schema(SCHEMA, timezone="UTC")


def update_sentences(tables: Tables) -> dict[str, int]:
    """Split the notes that have no sentences yet, and drop sentences of texts that are gone.

    Returns how many notes were split, how many texts lost their sentences, and how many sentences
    were written. Safe to repeat: a crash between the two commits is mended by the next call.
    """
    name = tables.ensure("sentences")
    counts = _compare(tables)
    if counts["texts_dropped"]:
        tables.spark.sql(
            f"MERGE INTO {name} s USING {tables.name('notes')} n"
            " ON s.note_id = n.note_id AND s.text_sha256 = n.text_sha256"
            f" AND s.splitter_version = '{SPLITTER_VERSION}'"
            " WHEN NOT MATCHED BY SOURCE THEN DELETE"
        )
    if not counts["notes_split"]:
        return {**counts, "sentences_written": 0}
    log.info("splitting %d notes", counts["notes_split"])
    known = tables.read("sentences").select(*KEY).distinct()
    tables.append("sentences", split_notes(_texts(tables).join(known, KEY, "left_anti")))
    return {**counts, "sentences_written": tables.rows_written("sentences")}


def has_text() -> Column:
    """Tell whether note_text has anything but white space, as the splitter understands it."""
    return F.col("note_text").rlike(r"[^\s\p{Z}\x1c-\x1f\x85\x{FEFF}]")


def _texts(tables: Tables) -> DataFrame:
    return tables.read("notes").where(has_text())


def _compare(tables: Tables) -> dict[str, int]:
    """Count texts without sentences of this splitter, and sentences' texts that are gone."""
    split_as = tables.read("sentences").select(*KEY, "splitter_version").distinct()
    wanted = _texts(tables).select(*KEY, F.lit(SPLITTER_VERSION).alias("splitter_version"))
    on = [*KEY, "splitter_version"]
    have = split_as.withColumn("have", F.lit(True))
    both = wanted.withColumn("want", F.lit(True)).join(have, on, "full")
    row = both.agg(
        F.count_if(F.col("have").isNull()).alias("new"),
        F.count_if(F.col("want").isNull()).alias("gone"),
    ).collect()[0]
    return {"notes_split": row.new, "texts_dropped": row.gone}


def split_notes(notes: DataFrame) -> DataFrame:
    """Return the sentence rows of notes (note_id, text_sha256, note_text)."""
    columns = notes.select("note_id", "text_sha256", "note_text")
    return columns.mapInArrow(_split_batches, SCHEMA)


def _split_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in in_pieces(batches):
        rows = [row for note in batch.to_pylist() for row in _rows(note)]
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=ARROW)


def in_pieces(batches: Iterator[pa.RecordBatch], size: int = 256) -> Iterator[pa.RecordBatch]:
    """Cut batches of whole notes into pieces whose Python objects fit a worker's memory."""
    for batch in batches:
        for first in range(0, batch.num_rows, size):
            yield batch.slice(first, size)


def _rows(note: dict[str, str]) -> Iterator[dict[str, object]]:
    for index, sentence in enumerate(split(note["note_text"])):
        span = sentence.span
        yield {
            "note_id": note["note_id"],
            "text_sha256": note["text_sha256"],
            "sentence_index": index,
            "start": span.start,
            "end": span.end,
            "section": sentence.section,
            "text": note["note_text"][span.start : span.end],
            "splitter_version": SPLITTER_VERSION,
        }
