"""From answers to rows: units are joined back to their notes, merged, and appended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from spanlake.core.assemble import NoteResult, merge
from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Extraction, Note, Relation, Sentence, Span, entity_at
from spanlake.errors import PlanError
from spanlake.spark.plan import MAX_TRANSIENT, Plan, in_pieces, units_of_plan
from spanlake.spark.schemas import ANSWER, TABLES
from spanlake.spark.tables import Tables

SHARED = ("note_id", "text_sha256", "slice")
MERGED = T.StructType(
    [f for f in TABLES["derived"].schema.fields if f.name not in ("plan_id", "number")]
)
ARROW = to_arrow_schema(MERGED, timezone="UTC")
BROADCAST_SLICES = (
    2  # answers of so many slices are sent to every executor, and no text is shuffled
)


def derive_run(
    tables: Tables, plan: Plan, labels: str, number: int, slices: tuple[int, int]
) -> None:
    """Append the rows of a run of slices: entities, relations, then note_status, which shows them.

    The notes are merged once, into `derived`, from which the three tables are appended. Every
    append carries a transaction of its own, so that a run that is repeated writes nothing twice.
    """
    merged = merged_notes(tables, plan, labels, slices)
    marked = merged.withColumns({"plan_id": F.lit(plan.plan_id), "number": F.lit(number)})
    tables.append("derived", marked, f"derived:{plan.plan_id}:{number}", 1)
    derived = tables.read("derived").where(
        (F.col("plan_id") == plan.plan_id) & (F.col("number") == number)
    )
    publish(tables, plan, derived, number)


def publish(tables: Tables, plan: Plan, derived: DataFrame, number: int) -> None:
    """Append entities, relations and note_status of merged notes, in this order."""
    marks = {
        "pipeline_fingerprint": F.lit(plan.pipeline_fingerprint),
        "plan_id": F.lit(plan.plan_id),
        "plan_number": F.lit(plan.plan_number),
    }
    for table in ("entities", "relations"):
        rows = derived.select(*SHARED, F.inline(table)).withColumns(marks)
        tables.append(table, rows, f"{table}:{plan.plan_id}:{number}", 1)
    counted = derived.withColumns({name: F.size(name) for name in ("entities", "relations")})
    rows = counted.withColumns(marks)
    tables.append("note_status", rows, f"note_status:{plan.plan_id}:{number}", 1)


def merged_notes(tables: Tables, plan: Plan, labels: str, slices: tuple[int, int]) -> DataFrame:
    """Return one row per note of a run of slices, with its state and its rows as arrays."""
    units = units_of_plan(tables, plan, slices).select(
        *SHARED, "sentence_index", "start", "end", "section", "unit_key"
    )
    answers = _answers(tables, plan, units.select("unit_key").distinct())
    sentence = F.struct("sentence_index", "start", "end", "section", "answer")
    answered = units.join(answers, "unit_key", "left")
    grouped = answered.groupBy(*SHARED).agg(F.collect_list(sentence).alias("sentences"))
    few = slices[1] - slices[0] < BROADCAST_SLICES
    notes = tables.read("notes", plan.notes_version).select("note_id", "text_sha256", "note_text")
    joined = notes.join(F.broadcast(grouped) if few else grouped, ["note_id", "text_sha256"])
    return joined.mapInArrow(_merger(labels, plan.pipeline_fingerprint), MERGED)


def _answers(tables: Tables, plan: Plan, keys: DataFrame) -> DataFrame:
    """Return each unit's answer, given up or not: the first that was read, else the first."""
    model_answers = tables.read("extractions").where(
        F.col("model_fingerprint") == plan.model_fingerprint
    )
    needed = model_answers.join(F.broadcast(keys), "unit_key", "left_semi")
    answer = F.struct(*[F.col(name) for name in ANSWER.names])
    outcome = F.col("outcome")
    order = F.struct(outcome != "ok", outcome == "transient", "plan_id", "wave")
    best = F.min_by(answer, order).alias("answer")
    chosen = needed.groupBy("unit_key").agg(best, F.count("*").alias("times"))
    tried = (F.col("answer.outcome") == "transient") & (F.col("times") >= MAX_TRANSIENT)
    given_up = F.when(tried, F.lit("unreadable")).otherwise(F.col("answer.outcome"))
    return chosen.select("unit_key", F.col("answer").withField("outcome", given_up).alias("answer"))


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
    sentence_rows = [s for s in row["sentences"] if s["sentence_index"] is not None]
    ordered = sorted(sentence_rows, key=lambda s: s["sentence_index"])
    if any(s["answer"] is None for s in ordered):
        raise PlanError(f"note {row['note_id']} has units without an answer: its wave is not done")
    sentences = [Sentence(Span(s["start"], s["end"]), s["section"] or "") for s in ordered]
    text = row["note_text"]
    answers = [to_extraction(s["answer"], text[s["start"] : s["end"]]) for s in ordered]
    result = merge(Note(row["note_id"], text), sentences, answers, labels, fingerprint)
    return {**{name: row[name] for name in SHARED}, **result_columns(result)}


def result_columns(result: NoteResult) -> dict[str, Any]:
    """Return the columns of `derived` that a note's result gives."""
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
