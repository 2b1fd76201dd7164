"""What is to be read: picked once, stored, and taken up again by whoever restarts the job.

A plan is a number within its pipeline, claimed by a Delta transaction. `plan_units` holds its notes
as units, cut into slices of about 2,000 notes; `work` the units that have no answer yet, each in
the first slice that holds it, as places in `notes`. `plan_events` tells what has become of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from math import ceil
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from spanlake.config.extract import ExtractConfig
from spanlake.core.types import units_of
from spanlake.errors import PlanError
from spanlake.spark.leases import identity
from spanlake.spark.runs import CONFLICT
from spanlake.spark.schemas import TABLES
from spanlake.spark.sql_errors import clear_errors, evaluating_user_sql
from spanlake.spark.tables import TERMINAL, Tables
from spanlake.text.sentences import SPLITTER_VERSION, split

KEY = ["note_id", "text_sha256"]
MAX_TRANSIENT = 3  # readings of a unit that may fail for reasons outside the text
NOTES_PER_SLICE = 2000
BROADCAST_NOTES = 500_000  # ids of so many notes are sent to every executor
PLACE = ("start", "end", "left_start", "right_end")
UNITS = T.StructType([f for f in TABLES["plan_units"].schema.fields if f.name != "plan_id"])
ARROW = to_arrow_schema(UNITS, timezone="UTC")


@dataclass(frozen=True, slots=True)
class Plan:
    """The header of a plan, from its events; the counts are 0 until it is planned."""

    plan_id: str
    plan_number: int
    pipeline_fingerprint: str
    model_fingerprint: str
    run_id: str
    epoch: int
    notes_version: int
    where: str | None
    slices: int
    small: bool = False
    notes: int = 0
    units: int = 0
    units_distinct: int = 0
    units_planned: int = 0
    planned: bool = False


COUNTS = ("notes", "units", "units_distinct", "units_planned")


def record(
    tables: Tables, plan: Plan, event: str, app: str, version: int = 1, **facts: Any
) -> None:
    """Append an event of the plan; the second of two with one (app, version) has no effect."""
    values = {
        "plan_id": plan.plan_id,
        "plan_number": plan.plan_number,
        "pipeline_fingerprint": plan.pipeline_fingerprint,
        "model_fingerprint": plan.model_fingerprint,
        "event": event,
        "run_id": plan.run_id,
        "epoch": plan.epoch,
        **facts,
    }
    kinds = {f.name: f.dataType for f in TABLES["plan_events"].schema.fields}
    schema = T.StructType([T.StructField(name, kinds[name]) for name in values])
    rows = tables.spark.createDataFrame([Row(**values)], schema)
    try:
        rows = rows.withColumn("at", F.current_timestamp())
        tables.append("plan_events", rows, app, version)
    except Exception as error:
        if not CONFLICT.search(str(error)[:500]):
            raise


def last_plan(tables: Tables, pipeline: str) -> tuple[Plan | None, bool]:
    """Return the pipeline's last plan, and whether it is open; no plan is not open."""
    tables.ensure("plan_events")
    headers = ("claimed", "planned", "taken_over", "finished", "abandoned")
    events = tables.read("plan_events").where(
        (F.col("pipeline_fingerprint") == pipeline) & F.col("event").isin(*headers)
    )
    rows = events.collect()  # a few of each plan of the pipeline
    if not rows:
        return None, False
    last = max(row.plan_number for row in rows)
    by_event = {(row.event, row.epoch): row for row in rows if row.plan_number == last}
    claimed = by_event["claimed", 1]
    owners = [row for (event, _), row in by_event.items() if event in ("claimed", "taken_over")]
    owner = max(owners, key=lambda row: row.epoch)
    planned = next((row for (event, _), row in by_event.items() if event == "planned"), None)
    counts = {name: getattr(planned, name) for name in COUNTS} if planned else {}
    names = [f.name for f in fields(Plan) if f.name not in (*COUNTS, "planned", "run_id", "epoch")]
    plan = Plan(
        **{name: claimed[name] for name in names},
        run_id=owner.run_id,
        epoch=owner.epoch,
        planned=planned is not None,
        **counts,
    )
    ended = any(event in ("finished", "abandoned") for event, _ in by_event)
    return plan, not (ended or (plan.small and planned is None and _has_status(tables, plan)))


def _has_status(tables: Tables, plan: Plan) -> bool:
    if not tables.exists("note_status"):
        return False
    of_pipeline = F.col("pipeline_fingerprint") == plan.pipeline_fingerprint
    status = tables.read("note_status").where(of_pipeline & (F.col("plan_id") == plan.plan_id))
    return status.limit(1).count() > 0


def require_owner(tables: Tables, plan: Plan) -> None:
    """Raise PlanError unless the plan is the run's: another may have claimed or taken it."""
    events = tables.read("plan_events").where(F.col("plan_id") == plan.plan_id)
    owned = events.where(F.col("event").isin("claimed", "taken_over"))
    owner = owned.agg(F.max_by("run_id", "epoch")).collect()[0][0]
    if owner != plan.run_id:
        raise PlanError(
            f"plan {plan.plan_id} belongs to run {owner}, which claimed it. Wait for it to finish,"
            " then start again"
        )


def take_over(tables: Tables, plan: Plan, run_id: str) -> Plan:
    """Make a run the owner of a plan whose owner is dead; raises PlanError if one was faster."""
    owned_plan = replace(plan, run_id=run_id, epoch=plan.epoch + 1)
    lease = json.dumps(identity())
    record(tables, owned_plan, "taken_over", f"owner:{plan.plan_id}", owned_plan.epoch, lease=lease)
    require_owner(tables, owned_plan)
    return owned_plan


def claim(
    tables: Tables,
    config: ExtractConfig,
    run_id: str,
    fingerprints: tuple[str, str],
    number: int,
    slices: int,
    notes_version: int,
    *,
    small: bool,
) -> Plan:
    """Claim the next plan of a pipeline (model and pipeline fingerprints) for a run.

    A `small` plan has ended when its notes have their status: it needs no event for that. Raises
    PlanError when another run has claimed it at the same time.
    """
    model, pipeline = fingerprints
    plan = Plan(
        f"{pipeline[:16]}-{number:06}", number, pipeline, model, run_id, 1, notes_version,
        config.where, slices, small,
    )  # fmt: skip
    record(
        tables, plan, "claimed", f"plans:{pipeline}", number,
        extractor=config.extractor.model_dump_json(), splitter_version=SPLITTER_VERSION,
        where=config.where, notes_version=notes_version, slices=slices,
        small=small, lease=json.dumps(identity()),
    )  # fmt: skip
    require_owner(tables, plan)
    return plan


@dataclass(frozen=True, slots=True)
class Unread:
    """The notes that a pipeline has not ended, as they are counted before a plan is made."""

    notes: DataFrame
    version: int
    total: int
    unread: int


def unread_notes(
    tables: Tables,
    pipeline: str,
    where: str | None,
    retry: bool = False,
    version: int | None = None,
) -> Unread:
    """Count the notes without a terminal status; with `retry`, quarantined ones are read again.

    They are those of a pinned version of `notes` if one is given, else of the newest.
    """
    tables.ensure("note_status")
    version = tables.version("notes") if version is None else version
    notes = _restricted(tables, version, where)
    ended = _ended(tables, pipeline, retry)
    with evaluating_user_sql(tables.spark, "where", where):
        both = notes.select(*KEY).join(ended.withColumn("ended", F.lit(1)), KEY, "left")
        row = both.agg(
            F.count("*").alias("total"),
            F.count_if(F.col("ended").isNull()).alias("unread"),
        ).collect()[0]
    return Unread(notes, version, row.total, row.unread)


def _restricted(tables: Tables, version: int, where: str | None) -> DataFrame:
    notes = tables.read("notes", version)
    if where:
        with clear_errors("where", "it is SQL on the columns of notes (docs/tables.md)"):
            notes = notes.where(where)
    return notes


def _ended(tables: Tables, pipeline: str, retry: bool) -> DataFrame:
    states = "('done', 'empty')" if retry else TERMINAL
    status = tables.read("note_status").where(F.col("pipeline_fingerprint") == pipeline)
    return status.where(f"state IN {states}").select(*KEY).distinct()


def texts_of(tables: Tables, pipeline: str, pending: Unread, retry: bool = False) -> DataFrame:
    """Return the unread notes with their text, which is not shuffled where ids fit the memory."""
    columns = pending.notes.select(*KEY, "note_text")
    if pending.unread == pending.total:
        return columns
    ended = _ended(tables, pipeline, retry)
    if pending.unread > BROADCAST_NOTES:
        small = pending.total - pending.unread <= BROADCAST_NOTES
        return columns.join(F.broadcast(ended) if small else ended, KEY, "left_anti")
    ids = pending.notes.select(*KEY).join(ended, KEY, "left_anti")
    return columns.join(F.broadcast(ids), KEY, "left_semi")


def slices_for(notes: int, config: ExtractConfig) -> int:
    """Return the number of slices of a plan."""
    return config.slices or max(1, ceil(notes / NOTES_PER_SLICE))


def write_plan(
    tables: Tables, plan: Plan, notes: DataFrame, context: int, retry: bool = False
) -> Plan:
    """Store the plan's units and its work; return the plan with its counts. Safe to repeat.

    `notes` are the unread notes, evaluated only where the plan's units are not stored yet. With
    `retry`, units that had been given up are work too.
    """
    slices = plan.slices
    sliced = notes.withColumn("slice", F.pmod(F.xxhash64("note_id"), F.lit(slices)).cast("int"))
    units = sliced.mapInArrow(_splitter(context), UNITS)
    units = units.repartition(min(slices, 512), "slice").withColumn("plan_id", F.lit(plan.plan_id))
    with evaluating_user_sql(tables.spark, "where", plan.where):
        tables.append("plan_units", units, f"plan_units:{plan.plan_id}", 1)
    _write_work(tables, plan, retry)
    return _counted(tables, plan)


def _splitter(
    context: int,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def split_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in in_pieces(batches):
            rows = [row for note in batch.to_pylist() for row in unit_rows(note, context)]
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema=ARROW)

    return split_batches


def in_pieces(batches: Iterator[pa.RecordBatch], size: int = 256) -> Iterator[pa.RecordBatch]:
    """Cut batches of whole notes into pieces whose Python objects fit a worker's memory."""
    for batch in batches:
        for first in range(0, batch.num_rows, size):
            yield batch.slice(first, size)


def unit_rows(note: dict[str, Any], context: int) -> list[dict[str, Any]]:
    """Return the rows of `plan_units` of a note: one without a sentence where it has none."""
    shared = {name: note[name] for name in ("slice", *KEY)}
    sentences = split(note["note_text"])
    if not sentences:
        return [shared]
    units = units_of(note["note_text"], sentences, context)
    return [
        {
            **shared,
            "sentence_index": i,
            "start": sentence.span.start,
            "end": sentence.span.end,
            "left_start": sentence.span.start - len(unit.left),
            "right_end": sentence.span.end + len(unit.right),
            "section": sentence.section,
            "unit_key": unit.unit_key,
        }
        for i, (sentence, unit) in enumerate(zip(sentences, units, strict=True))
    ]


def _write_work(tables: Tables, plan: Plan, retry: bool) -> None:
    """Write the plan's unread units, each in its first slice, as a place in a note of it."""
    units = units_of_plan(tables, plan).where("unit_key IS NOT NULL")
    place = F.struct("slice", *KEY, *PLACE)
    first = units.groupBy("unit_key").agg(F.min(place).alias("place"))
    unread = first.join(settled(tables, plan, retry), "unit_key", "left_anti")
    rows = unread.select("unit_key", "place.*", F.lit(plan.plan_id).alias("plan_id"))
    rows = rows.repartition(min(plan.slices, 512), "slice")
    tables.append("work", rows, f"work:{plan.plan_id}", 1)


def units_of_plan(tables: Tables, plan: Plan, slices: tuple[int, int] | None = None) -> DataFrame:
    """Return the rows of `plan_units`, of all slices or of a run of them."""
    return _of_slices(tables.read("plan_units"), plan, slices)


def work_of_plan(tables: Tables, plan: Plan, slices: tuple[int, int] | None = None) -> DataFrame:
    """Return the rows of `work`, of all slices or of a run of them."""
    return _of_slices(tables.read("work"), plan, slices)


def _of_slices(rows: DataFrame, plan: Plan, slices: tuple[int, int] | None) -> DataFrame:
    plan_rows = rows.where(F.col("plan_id") == plan.plan_id)
    return plan_rows if slices is None else plan_rows.where(F.col("slice").between(*slices))


def settled(tables: Tables, plan: Plan, retry: bool = False) -> DataFrame:
    """Return the keys of units with a permanent answer, or that have failed too often.

    With `retry` only those that have been read.
    """
    tables.ensure("extractions")
    answers = tables.read("extractions").where(F.col("model_fingerprint") == plan.model_fingerprint)
    if retry:
        return answers.where("outcome = 'ok'").select("unit_key").distinct()
    tried = answers.groupBy("unit_key").agg(
        F.max(F.col("outcome") != "transient").alias("permanent"), F.count("*").alias("times")
    )
    return tried.where(F.col("permanent") | (F.col("times") >= MAX_TRANSIENT)).select("unit_key")


def _counted(tables: Tables, plan: Plan) -> Plan:
    row = units_of_plan(tables, plan).agg(
        F.count_distinct("note_id").alias("notes"),
        F.count("unit_key").alias("units"),
        F.count_distinct("unit_key").alias("units_distinct"),
    )
    counts = {**row.collect()[0].asDict(), "units_planned": work_of_plan(tables, plan).count()}
    record(tables, plan, "planned", f"planned:{plan.plan_id}", slices=plan.slices, **counts)
    return replace(plan, **counts, planned=True)


def heartbeats(tables: Tables, plan: Plan) -> int:
    """Count the heartbeat events of the plan's owner."""
    events = tables.read("plan_events").where(F.col("run_id") == plan.run_id)
    return int(events.where(F.col("event") == "heartbeat").count())


def finish(tables: Tables, plan: Plan, event: str = "finished") -> None:
    """Close the plan (`finished` or `abandoned`) and drop what it alone needed.

    Of a finished one that goes first: whoever is killed here leaves something to do, and the next
    run does it. Nobody may go on with an abandoned plan whose work is gone.
    """
    end = partial(record, tables, plan, event, f"end:{plan.plan_id}")
    if event == "abandoned":
        end()
    for table in ("work", "derived"):
        if tables.exists(table):
            tables.spark.sql(f"DELETE FROM {tables.name(table)} WHERE plan_id = '{plan.plan_id}'")
    if event == "finished":
        end()
