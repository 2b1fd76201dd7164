"""What is to be read: picked once, stored, and taken up again by whoever restarts the job.

A plan pins the versions of `notes` and `sentences`, cuts its notes into slices by a hash of the
patient, and puts every unit into the wave of its first slice. `plans` is the claim and the header
(claims.py), `work` the units that have no answer yet.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spanlake.core.config import ExtractConfig
from spanlake.core.errors import DataError, PlanError
from spanlake.core.sentences import SPLITTER_VERSION
from spanlake.spark.claims import Plan, claim
from spanlake.spark.clear import clear_errors, running
from spanlake.spark.runs import Run
from spanlake.spark.sentences import has_text
from spanlake.spark.tables import Tables
from spanlake.spark.units import as_units

KEY = ["note_id", "text_sha256"]
TERMINAL = ("done", "empty", "quarantined")
MAX_TRANSIENT = 3  # readings of a unit that may fail for reasons outside the text


def make_plan(tables: Tables, run: Run, config: ExtractConfig, model: str, pipeline: str) -> Plan:
    """Store and return a new plan; `plan.notes` is 0, and nothing is stored, when all is done.

    Raises PlanError when another run has claimed the same plan at the same time.
    """
    for table in ("extractions", "note_status", "work", "plans"):
        tables.ensure(table)
    number = _next_number(tables, pipeline)
    versions = {f"{t}_version": tables.version(t) for t in ("notes", "sentences")}
    draft = Plan(
        plan_id=f"{pipeline[:16]}-{number}", plan_number=number, pipeline_fingerprint=pipeline,
        model_fingerprint=model, run_id=run.run_id, where=config.where, slices=1,
        units_per_task=config.units_per_task, notes=0, units=0, units_distinct=0, units_planned=0,
        **versions,
    )  # fmt: skip
    with running(tables.spark, "where", config.where):
        plan = _measured(tables, draft, config)
    if plan.notes == 0:
        return plan
    claim(tables, plan)
    write_work(tables, plan, config.extractor.context)
    return plan


def _next_number(tables: Tables, pipeline: str) -> int:
    """Return the number to claim; a claim that is made after this reading makes ours void."""
    mine = tables.read("plans").where(F.col("pipeline_fingerprint") == pipeline)
    still_open = F.count_if(F.col("finished_at").isNull()).alias("open")
    row = mine.agg(F.max("plan_number").alias("last"), still_open).collect()[0]
    if row.open:
        raise PlanError("another run has just claimed a plan of this pipeline: start again later")
    return int(row.last or 0) + 1


def _measured(tables: Tables, draft: Plan, config: ExtractConfig) -> Plan:
    """Count the draft's notes and units, and choose the number of slices from the unread ones."""
    context = config.extractor.context
    counts = _counts(tables, draft, context)
    units = plan_units(tables, draft, context).select("unit_sha256").distinct()
    unread = _unanswered(tables, draft, units).count() if counts["units"] else 0
    slices = config.slices or max(1, ceil(unread / config.units_per_wave))
    return replace(
        draft,
        notes=counts["notes"],
        units=counts["units"],
        units_distinct=counts["units_distinct"],
        units_planned=unread,
        slices=slices,
    )


def _counts(tables: Tables, draft: Plan, context: int) -> dict[str, int]:
    """Count notes, units and different units; raises DataError for texts without sentences."""
    notes = planned_notes(tables, draft).select(*KEY, has_text().alias("has_text"))
    units = plan_units(tables, draft, context).select(*KEY, "unit_sha256")
    unsplit = F.col("has_text") & F.col("unit_sha256").isNull()
    row = notes.join(units, KEY, "left").agg(
        F.count_distinct("note_id").alias("notes"),
        F.count("unit_sha256").alias("units"),
        F.count_distinct("unit_sha256").alias("units_distinct"),
        F.count_if(unsplit).alias("unsplit"),
    )
    counts: dict[str, int] = row.collect()[0].asDict()
    if unsplit_notes := counts.pop("unsplit"):
        raise DataError(
            f"{unsplit_notes} notes have text but no sentences: an ingest was cut short."
            " Run it again"
        )
    return counts


def planned_notes(tables: Tables, plan: Plan) -> DataFrame:
    """Return the plan's notes, each with its slice: all but those that an earlier plan has ended.

    Notes that this plan has ended itself stay in, so that deriving a slice twice gives the same.
    """
    notes = tables.read("notes", plan.notes_version)
    if plan.where:
        with clear_errors("where", "it is SQL on the columns of notes (docs/tables.md)"):
            notes = notes.where(plan.where)
    mine = F.col("pipeline_fingerprint") == plan.pipeline_fingerprint
    ended = F.col("state").isin(*TERMINAL) & (F.col("plan_id") != plan.plan_id)
    status = tables.read("note_status").where(mine & ended)
    left = notes.join(status.select(*KEY), KEY, "anti")
    return left.withColumn("slice", _slice(plan.slices))


def _slice(slices: int) -> Column:
    patient = F.coalesce("patient_id", "note_id")
    return F.pmod(F.xxhash64(patient), F.lit(slices)).cast("int")


def plan_units(tables: Tables, plan: Plan, context: int, number: int | None = None) -> DataFrame:
    """Return the plan's sentences as units: note key, slice, and the columns of `as_units`.

    With `number`, those of one slice: a filter afterwards would not get past the neighbours.
    """
    text = ["note_text"] if context else []
    notes = planned_notes(tables, plan).select(*KEY, "slice", *text)
    if number is not None:
        notes = notes.where(F.col("slice") == number)
    sentences = tables.read("sentences", plan.sentences_version)
    sentences = sentences.where(F.col("splitter_version") == SPLITTER_VERSION)
    return as_units(sentences.join(notes, KEY), context)


def write_work(tables: Tables, plan: Plan, context: int) -> None:
    """Write the plan's unread units, each in the wave of its first slice, in one commit."""
    units = plan_units(tables, plan, context).groupBy("unit_sha256")
    seen = [F.first(name).alias(name) for name in ("left", "right")]
    first = units.agg(F.min("slice").alias("wave"), F.first("text").alias("target"), *seen)
    unread = _unanswered(tables, plan, first)
    rows = unread.withColumns({"plan_id": F.lit(plan.plan_id), "section": F.lit("")})
    rows = rows.repartitionByRange("wave", "unit_sha256")  # a wave then reads its own files only
    tables.append("work", rows, f"work:{plan.plan_id}")


def _unanswered(tables: Tables, plan: Plan, units: DataFrame) -> DataFrame:
    """Drop units that have a permanent answer, or have failed too often to be tried again."""
    mine = F.col("model_fingerprint") == plan.model_fingerprint
    answers = (
        tables.read("extractions")
        .where(mine)
        .groupBy("unit_sha256")
        .agg(F.max(F.col("outcome") != "transient").alias("permanent"), F.count("*").alias("times"))
    )
    settled = answers.where(F.col("permanent") | (F.col("times") >= MAX_TRANSIENT))
    return units.join(settled.select("unit_sha256"), "unit_sha256", "left_anti")
