"""What a run prints at its end: counts, seconds, the slowest partition, where the tables are."""

from __future__ import annotations

from typing import Any

from pyspark.sql import functions as F

from spanlake.spark.arguments import table_of
from spanlake.spark.extract import Step
from spanlake.spark.tables import Tables

FACTS = ("plan_id", "notes", "failed_notes", "units", "units_read", "model_loads")


def summary(tables: Tables, facts: dict[str, Any], step: Step = "all") -> str:
    """Return the report of an extract run, from the facts of its `runs` row."""
    if step in ("plan", "abandon"):
        return _of_plan(facts, step)
    rows: list[tuple[str, object]] = [(name, facts.get(name) or 0) for name in FACTS]
    rows += [(f"{s} seconds", f"{facts.get(f'{s}_seconds', 0):.1f}") for s in _STEPS]
    rows.append(("notes per hour", f"{facts.get('notes_per_hour', 0):,.0f}"))
    rows += _slowest(tables, facts.get("plan_id"))
    rows += _dropped(tables, facts.get("plan_id"))
    rows.append(("tables", tables.config.database or tables.config.location))
    shown = facts.get("published", True)
    last = "" if shown else "\nthe views show another pipeline's rows: --publish shows this one's"
    return "extracted\n" + table_of(rows) + last


_STEPS = ("plan", "infer", "derive")


def _of_plan(facts: dict[str, Any], step: Step) -> str:
    plan = facts.get("plan_id")
    if step == "abandon":
        return f"gave up plan {plan}: its answers are kept, its other notes are planned anew"
    if plan is None:
        return "nothing to plan: every note has its status for this pipeline"
    return f"planned {facts['units']} units as {plan}: go on with --step infer, then derive"


def _dropped(tables: Tables, plan_id: str | None) -> list[tuple[str, object]]:
    """Return what was left out of the model's answers to a plan's notes, by reason."""
    mine = tables.read("note_status").where(F.col("plan_id") == F.lit(plan_id))
    counted = mine.select(F.explode("dropped").alias("reason", "times")).groupBy("reason")
    found = counted.agg(F.sum("times").alias("times")).orderBy("reason").collect()
    return [(f"left out: {row.reason}", row.times) for row in found]


def _slowest(tables: Tables, plan_id: str | None) -> list[tuple[str, object]]:
    mine = tables.view("timings").where(F.col("plan_id") == F.lit(plan_id))
    found = mine.orderBy(F.desc("task_seconds")).limit(1).collect()
    if not found:
        return [("slowest partition", "none: nothing had to be read")]
    row = found[0]
    place = f"wave {row.wave}, partition {row.partition} on {row.device}"
    text = f"{place}: {row.units} units in {row.task_seconds:.1f} s ({row.load_seconds:.1f} s load)"
    return [("slowest partition", text)]
