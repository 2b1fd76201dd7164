"""The extract job: plan, infer wave by wave, derive slice by slice; every step can be repeated."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

from pyspark.sql import Column
from pyspark.sql import functions as F

from spanlake.core.config import ExtractConfig
from spanlake.core.errors import DataError, PlanError
from spanlake.core.merging import DERIVE_VERSION
from spanlake.models import model_fingerprint
from spanlake.models.annotate import pipeline_fingerprint
from spanlake.spark.claims import (
    Plan,
    abandon,
    finish,
    require_owner,
    take_over,
    unfinished,
)
from spanlake.spark.derive import derive_slice, derived_slices
from spanlake.spark.infer import infer_wave
from spanlake.spark.plan import make_plan, write_work
from spanlake.spark.runs import Run
from spanlake.spark.tables import Tables

log = logging.getLogger(__name__)

Step = Literal["plan", "infer", "derive", "all", "abandon"]
STEPS: tuple[Step, ...] = ("plan", "infer", "derive", "all", "abandon")


def extract(tables: Tables, config: ExtractConfig, step: Step = "all") -> dict[str, Any]:
    """Run a step of the extraction and return what the run did (the facts of its `runs` row).

    `all` first finishes a plan that an earlier run left, then plans what is new; `abandon` gives
    such a plan up, and keeps every answer. Raises PlanError when there is no plan for the step, or
    a living run works on it, and DataError when more than `max_failed_share` of the pipeline's
    notes have failed (after everything has been written); ConfigError before an ingest.
    """
    for table in ("notes", "sentences"):
        tables.require(table)  # before anything is written at a place that was mistyped
    config = config.model_copy(update={"extractor": config.extractor.located()})
    model = model_fingerprint(config.extractor)
    pipeline = pipeline_fingerprint(model, DERIVE_VERSION, config.extractor.context)
    fingerprints = {"model_fingerprint": model, "pipeline_fingerprint": pipeline}
    with Run(tables, "extract", config, **fingerprints) as run:
        extraction = _Extraction(tables, config, run, model, pipeline)
        extraction.run_step(step)
        extraction.close()
    return run.facts


class _Extraction:
    """One run of the job over one or two plans."""

    def __init__(
        self, tables: Tables, config: ExtractConfig, run: Run, model: str, pipeline: str
    ) -> None:
        self.tables, self.config, self.run = tables, config, run
        self.model, self.pipeline = model, pipeline
        self.started = time.perf_counter()
        self.seconds = {"plan": 0.0, "infer": 0.0, "derive": 0.0}
        self.waves: list[dict[str, Any]] = []
        self.plans: list[Plan] = []

    def run_step(self, step: Step) -> None:
        left = unfinished(self.tables, self.pipeline)
        if left is not None and step == "abandon":
            plan = take_over(self.tables, left, self.run, self.config)
            self.run.facts["plan_id"] = plan.plan_id
            abandon(self.tables, plan, derived_slices(self.tables, plan))
        elif left is not None:
            plan = take_over(self.tables, left, self.run, self.config)
            # skipped by Delta unless its first run died before it
            write_work(self.tables, plan, self.config.extractor.context)
            self._work_on(plan, step)
        elif step not in ("plan", "all"):
            raise PlanError(f"there is no unfinished plan to {step}: run --step plan first")
        if step == "all" or (step == "plan" and left is None):
            self._new_plan(step)

    def _new_plan(self, step: Step) -> None:
        start = time.perf_counter()
        plan = make_plan(self.tables, self.run, self.config, self.model, self.pipeline)
        self.seconds["plan"] += time.perf_counter() - start
        if plan.notes == 0:
            log.info("nothing to do: every note has its status for this pipeline")
        else:
            self._work_on(plan, step)

    def _work_on(self, plan: Plan, step: Step) -> None:
        self.plans.append(plan)
        self.run.facts |= {"plan_id": plan.plan_id, "notes_version": plan.notes_version}
        log.info(
            "plan %s: %d notes, %d units, %d different, %d to read, %d waves",
            plan.plan_id, plan.notes, plan.units, plan.units_distinct, plan.units_planned,
            plan.slices,
        )  # fmt: skip
        done = derived_slices(self.tables, plan) if step in ("all", "derive") else set()
        for number in range(plan.slices):
            if step in ("all", "infer") and number not in done:
                self._timed("infer", self._infer, plan, number)
            if step in ("all", "derive") and number not in done:
                self._timed("derive", self._derive, plan, number)
        if step in ("all", "derive"):
            finish(self.tables, plan)

    def _timed(self, step: str, action: Any, plan: Plan, number: int) -> None:
        require_owner(self.tables, plan, self.run.run_id)
        start = time.perf_counter()
        action(plan, number)
        self.seconds[step] += time.perf_counter() - start
        log.info("%s %d of %d done in %.1f s", step, number + 1, plan.slices,
                 time.perf_counter() - start)  # fmt: skip

    def _infer(self, plan: Plan, wave: int) -> None:
        start = time.perf_counter()
        infer_wave(self.tables, plan, self.config.extractor, wave)
        seconds = time.perf_counter() - start
        mine = (F.col("plan_id") == plan.plan_id) & (F.col("wave") == wave)
        tasks = self.tables.read("timings").where(mine)
        sums = [F.coalesce(F.sum(c), F.lit(0)).alias(c) for c in ("units", "model_loads")]
        row = tasks.agg(F.count("*").alias("tasks"), *sums).collect()[0]
        self.waves.append({"wave": wave, "wall_seconds": seconds, **row.asDict()})

    def _derive(self, plan: Plan, number: int) -> None:
        derive_slice(self.tables, plan, self.config.extractor, number)

    def close(self) -> None:
        """Write the run's totals; raise DataError when too many notes failed."""
        wall = time.perf_counter() - self.started
        notes, bad = _totals(self._status(F.col("plan_id").isin(self._plan_ids())))
        self.run.facts |= {
            "waves": self.waves,
            "notes": notes,
            "units": sum(plan.units for plan in self.plans),
            "units_read": sum(wave["units"] for wave in self.waves),
            "model_loads": sum(wave.pop("model_loads") for wave in self.waves),
            "failed_notes": bad,
            "notes_per_hour": 3600 * notes / wall,
            **{f"{step}_seconds": seconds for step, seconds in self.seconds.items()},
        }
        all_notes, all_bad = _totals(self._status(F.col("pipeline_fingerprint") == self.pipeline))
        if bad and all_bad / all_notes > self.config.max_failed_share:
            raise DataError(
                f"{all_bad} of {all_notes} notes failed, more than max_failed_share"
                f" {self.config.max_failed_share}: see the view quarantine"
            )

    def _plan_ids(self) -> list[str]:
        return [plan.plan_id for plan in self.plans]

    def _status(self, of: Column) -> dict[str, int]:
        status = self.tables.read("note_status").where(of)
        return {row.state: row["count"] for row in status.groupBy("state").count().collect()}


def _totals(states: dict[str, int]) -> tuple[int, int]:
    """Return the number of notes, and of those that failed."""
    return sum(states.values()), states.get("failed", 0) + states.get("quarantined", 0)
