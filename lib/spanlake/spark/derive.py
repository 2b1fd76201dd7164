"""From answers to rows: join units back to their notes, merge, and publish slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from spanlake.core.config import ExtractorConfig
from spanlake.core.errors import PlanError
from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.merging import NoteResult, merge
from spanlake.core.spans import Relation, Span, entity_at
from spanlake.core.units import Extraction, Note, Sentence
from spanlake.spark.claims import Plan
from spanlake.spark.plan import MAX_TRANSIENT, plan_units, planned_notes
from spanlake.spark.runs import retrying
from spanlake.spark.schemas import ANSWER, TABLES
from spanlake.spark.sentences import in_pieces
from spanlake.spark.tables import Tables

SHARED = ("note_id", "text_sha256", "patient_id", "pipeline_fingerprint", "plan_id", "slice")


def _own(table: str) -> T.StructType:
    """Return the columns of a table's rows that are not shared by all rows of a note."""
    return T.StructType([f for f in TABLES[table].schema.fields if f.name not in SHARED])


MERGED = T.StructType(
    [
        T.StructField("note_id", T.StringType()),
        T.StructField("text_sha256", T.StringType()),
        T.StructField("patient_id", T.StringType()),
        T.StructField("state", T.StringType()),
        T.StructField("chars", T.LongType()),
        T.StructField("chars_seen", T.LongType()),
        T.StructField("error_class", T.StringType()),
        T.StructField("reason", T.StringType()),
        T.StructField("dropped", T.MapType(T.StringType(), T.IntegerType())),
        T.StructField("entities", T.ArrayType(_own("entities"))),
        T.StructField("relations", T.ArrayType(_own("relations"))),
    ]
)
ARROW = to_arrow_schema(MERGED, timezone="UTC")


def derived_slices(tables: Tables, plan: Plan) -> set[int]:
    """Return the slices of the plan whose notes have their status: nothing is left to do there."""
    status = tables.read("note_status").where(F.col("plan_id") == plan.plan_id)
    return {row["slice"] for row in status.select("slice").distinct().collect()}


def derive_slice(tables: Tables, plan: Plan, extractor: ExtractorConfig, number: int) -> None:
    """Write a slice's entities and relations, then its note_status, which publishes them."""
    merged = merged_notes(tables, plan, extractor, number).persist()
    try:
        marks = {
            "pipeline_fingerprint": F.lit(plan.pipeline_fingerprint),
            "plan_id": F.lit(plan.plan_id),
            "slice": F.lit(number),
        }
        where = f"plan_id = '{plan.plan_id}' AND slice = {number}"
        for table in ("entities", "relations"):
            rows = merged.select("note_id", "text_sha256", "patient_id", F.inline(table))
            retrying(partial(tables.replace, table, rows.withColumns(marks), where))
        _publish(tables, merged.withColumns(marks))
    finally:
        merged.unpersist()


def _publish(tables: Tables, merged: DataFrame) -> None:
    """Write note_status; a note that had failed under an earlier plan keeps one row."""
    counted = merged.withColumns({name: F.size(name) for name in ("entities", "relations")})
    columns = TABLES["note_status"].schema.names
    counted.select(*columns).createOrReplaceTempView("spanlake_status")
    name = tables.ensure("note_status")
    key = " AND ".join(f"s.{c} = n.{c}" for c in ("note_id", "text_sha256", "pipeline_fingerprint"))
    merge_sql = (
        f"MERGE INTO {name} s USING spanlake_status n ON {key}"
        " WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    )
    retrying(lambda: tables.spark.sql(merge_sql))
    tables.spark.catalog.dropTempView("spanlake_status")


def merged_notes(tables: Tables, plan: Plan, extractor: ExtractorConfig, number: int) -> DataFrame:
    """Return one row per note of the slice, with its state and its rows as arrays."""
    notes = planned_notes(tables, plan).where(F.col("slice") == number)
    units = plan_units(tables, plan, extractor.context, number)
    answered = units.join(_answers(tables, plan, units), "unit_sha256", "left")
    sentence = F.struct("sentence_index", "start", "end", "section", "answer")
    key = ["note_id", "text_sha256"]
    grouped = answered.groupBy(*key).agg(F.collect_list(sentence).alias("sentences"))
    columns = notes.select(*key, "patient_id", "note_text")
    joined = columns.join(grouped, key, "left")
    return joined.mapInArrow(_merger(extractor.labels, plan.pipeline_fingerprint), MERGED)


def _answers(tables: Tables, plan: Plan, units: DataFrame) -> DataFrame:
    """Return each unit's answer: the permanent one if there is one, and how often it was tried."""
    mine = tables.read("extractions").where(F.col("model_fingerprint") == plan.model_fingerprint)
    needed = mine.join(units.select("unit_sha256").distinct(), "unit_sha256", "left_semi")
    answer = F.struct(*[F.col(name) for name in ANSWER.names])
    best = F.max_by(answer, F.col("outcome") != "transient")
    chosen = needed.groupBy("unit_sha256").agg(best.alias("answer"), F.count("*").alias("times"))
    tried = (F.col("answer.outcome") == "transient") & (F.col("times") >= MAX_TRANSIENT)
    given_up = F.when(tried, F.lit("unreadable")).otherwise(F.col("answer.outcome"))
    return chosen.select(
        "unit_sha256", F.col("answer").withField("outcome", given_up).alias("answer")
    )


def _merger(
    labels: str, fingerprint: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def merge_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        label_set = load_labels(labels)
        for batch in in_pieces(batches):
            rows = [_merge_row(row, label_set, fingerprint) for row in batch.to_pylist()]
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=ARROW)

    return merge_batches


def _merge_row(row: dict[str, Any], labels: LabelSet, fingerprint: str) -> dict[str, Any]:
    note = Note(row["note_id"], row["note_text"], row["patient_id"])
    ordered = sorted(row["sentences"] or (), key=lambda s: s["sentence_index"])
    if any(s["answer"] is None for s in ordered):
        raise PlanError(f"note {note.note_id} has units without an answer: its wave is not done")
    sentences = [Sentence(Span(s["start"], s["end"]), s["section"] or "") for s in ordered]
    answers = [to_extraction(s["answer"], note.note_text[s["start"] : s["end"]]) for s in ordered]
    result = merge(note, sentences, answers, labels, fingerprint)
    return {**_note_columns(row), **_result_columns(result)}


def _note_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("note_id", "text_sha256", "patient_id")}


def _result_columns(result: NoteResult) -> dict[str, Any]:
    return {
        "state": result.state,
        "chars": result.chars,
        "chars_seen": result.chars_seen,
        "error_class": result.error_class,
        "reason": result.reason,
        "dropped": dict(result.dropped),
        "entities": [asdict(entity) for entity in result.entities],
        "relations": [asdict(relation) for relation in result.relations],
    }


def to_extraction(answer: dict[str, Any], target: str) -> Extraction:
    """Return a stored answer as an Extraction of its unit's target."""
    entities = tuple(
        entity_at(target, e["start"], e["end"], e["label"], e["score"]) for e in answer["entities"]
    )
    relations, undecided = (
        tuple(Relation(r["head"], r["tail"], r["label"], r["score"]) for r in answer[name] or ())
        for name in ("relations", "undecided")
    )
    return Extraction(
        answer["outcome"], entities, relations, answer["chars_seen"],
        answer["error_class"], answer["reason"], answer["confidence"], undecided,
    )  # fmt: skip
