"""The extract job: plan, infer wave by wave, derive beside it; every step can be repeated."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from spanlake.config.extract import ExtractConfig
from spanlake.core.assemble import DERIVE_VERSION
from spanlake.errors import DataError, PlanError
from spanlake.models import model_fingerprint
from spanlake.predict import pipeline_fingerprint
from spanlake.spark.derive import derive_run
from spanlake.spark.infer import Wave, infer_wave, slots_of
from spanlake.spark.leases import Lease, dead_runs, owner_lives, remove
from spanlake.spark.plan import (
    KEY,
    Plan,
    Unread,
    claim,
    finish,
    heartbeats,
    last_plan,
    record,
    slices_for,
    take_over,
    texts_of,
    units_of_plan,
    unread_notes,
    work_of_plan,
    write_plan,
)
from spanlake.spark.publication import publish_pipeline, standing
from spanlake.spark.runs import Run, append_run, retrying
from spanlake.spark.small_runs import run_small
from spanlake.spark.tables import Tables

log = logging.getLogger(__name__)

Step = Literal["plan", "infer", "derive", "all", "abandon"]
STEPS: tuple[Step, ...] = ("plan", "infer", "derive", "all", "abandon")
IN_FLIGHT = 2  # waves: while one commits, the next keeps the slots busy
FIRST_WAVE_UNITS = 200  # a slot reads so many to measure the rate
MOST_DERIVE_RUNS = 256  # each looks through `notes` and the model's answers
PROGRESS_SECONDS = 15.0
SMALL_CHARACTERS = 20_000_000  # of all notes of a small run together


@dataclass(slots=True)
class Options:
    """What a run was asked for beside its configuration."""

    step: Step = "all"
    publish: bool = False
    retry: bool = False
    wait: bool = False


def extract(
    tables: Tables,
    config: ExtractConfig,
    step: Step = "all",
    *,
    publish: bool = False,
    retry: bool = False,
    wait: bool = False,
) -> dict[str, Any]:
    """Run a step of the extraction and return what the run did (the facts of its `runs` row).

    `all` first finishes a plan that an earlier run left, then plans what is new; `abandon` gives
    such a plan up, and keeps every answer. With `publish` the pipeline is the one that the views
    show from now on; with `retry` quarantined notes are read again; with `wait` the lease of an
    owner elsewhere is watched, and its plan taken over when it is dead. Raises PlanError when there
    is no plan for the step, or a living run works on it, and DataError when more than
    `max_failed_share` of the pipeline's notes have failed (after everything has been written).
    """
    tables.require("notes")  # before anything is written at a place that was mistyped
    tables.require_log_store()
    tables.require_layout()
    config = config.model_copy(update={"extractor": config.extractor.located()})
    model = model_fingerprint(config.extractor)
    pipeline = pipeline_fingerprint(model, DERIVE_VERSION, config.extractor.needed_context)
    for run_id in dead_runs(tables):
        record_lost(tables, run_id)
        remove(tables, run_id)
    run = Run(tables, "extract", config, model_fingerprint=model, pipeline_fingerprint=pipeline)
    options = Options(step, publish, retry, wait)
    extraction = _Extraction(tables, config, run, (model, pipeline), options)
    if step in ("all", "plan") and extraction.is_idle():
        log.info("nothing to do: every note has its status for this pipeline")
        return {**run.facts, "notes": 0, "units": 0, "units_read": 0, "failed_notes": 0}
    with Lease(tables, run.run_id, extraction.beat), run:  # the lease outlives the run's own row
        extraction.run_step()
        extraction.close()
    return run.facts


_STEPS = ("plan", "infer", "derive")


@dataclass(slots=True)
class _Totals:
    """What a run has done so far."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_STEPS, 0.0))
    waves: list[dict[str, Any]] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)  # of the notes of small plans
    units_read: int = 0
    model_loads: int = 0


class _Extraction:
    """One run of the job over one or two plans."""

    def __init__(
        self,
        tables: Tables,
        config: ExtractConfig,
        run: Run,
        fingerprints: tuple[str, str],
        options: Options,
    ) -> None:
        self.tables, self.config, self.run, self.options = tables, config, run, options
        self.model, self.pipeline = fingerprints
        self.started = time.perf_counter()
        self.done = _Totals()
        self._owned: Plan | None = None
        self._last, self._open = last_plan(tables, self.pipeline)
        self._pending = None if self._open else self._unread()

    def _unread(self) -> Unread:
        return unread_notes(self.tables, self.pipeline, self.config.where, self.options.retry)

    def is_idle(self) -> bool:
        """Tell whether no plan is open and no note is unread; publishing is something to do.

        A run that was killed before it published a successor leaves that to the next one.
        """
        if self._pending is None or self._pending.unread or self.options.publish:
            return False
        pipeline_standing = (
            standing(self.tables, self.pipeline, self.config) if self._last else "shown"
        )
        self.run.facts["published"] = pipeline_standing == "shown"
        return pipeline_standing != "next"

    def beat(self) -> None:
        """Show that the run lives, where leases are no files."""
        if plan := self._owned:
            record(self.tables, plan, "heartbeat", f"beat:{plan.plan_id}:{time.time_ns()}")

    def run_step(self) -> None:
        """Do what was asked for, on one plan or two."""
        step = self.options.step
        if self._open and self._last is not None:
            plan = self._owned = self._take_over(self._last)
            if step == "abandon":
                self.run.facts["plan_id"] = plan.plan_id
                finish(self.tables, plan, "abandoned")
                return
            self._go_on(plan)
            if step == "all":
                self._pending = self._unread()
        elif step not in ("plan", "all"):
            raise PlanError(f"there is no unfinished plan to {step}: run --step plan first")
        if self._pending is not None and self._pending.unread:
            self._new_plan(self._pending)
        if self.options.publish or self.done.plans or step == "all":
            facts = self.run.facts
            facts["published"] = publish_pipeline(
                self.tables, self._any_plan(), self.config, force=self.options.publish
            )

    def _any_plan(self) -> Plan:
        plan = self.done.plans[-1] if self.done.plans else last_plan(self.tables, self.pipeline)[0]
        if plan is None:
            raise PlanError("nothing to publish: this pipeline has not read any note")
        return replace(plan, run_id=self.run.run_id)

    def _take_over(self, plan: Plan) -> Plan:
        beats = partial(heartbeats, self.tables, plan)
        lives = owner_lives(self.tables, plan.run_id, beats, wait=self.options.wait)
        if lives is not False:
            raise PlanError(
                f"plan {plan.plan_id} is being worked on by run {plan.run_id}"
                + (". Wait for it to finish" if lives else
                   " on another machine, as far as can be told from here: --wait watches it, and"
                   " takes the plan over if it is dead")
            )  # fmt: skip
        owned_plan = take_over(self.tables, plan, self.run.run_id)
        log.info("plan %s: taken over from run %s", plan.plan_id, plan.run_id)
        record_lost(self.tables, plan.run_id)
        remove(self.tables, plan.run_id)
        return owned_plan

    def _new_plan(self, pending: Unread) -> None:
        config = self.config
        start = time.perf_counter()
        texts = texts_of(self.tables, self.pipeline, pending, self.options.retry)
        small = (
            self.options.step == "all"
            and pending.unread <= config.driver_notes
            and _characters(texts) <= SMALL_CHARACTERS
        )
        number = self._last.plan_number + 1 if self._last else 1
        slices = 1 if small else slices_for(pending.unread, config)
        plan = self._owned = claim(
            self.tables, config, self.run.run_id, (self.model, self.pipeline), number, slices,
            pending.version, small=small,
        )  # fmt: skip
        log.info("plan %s: %d of %d notes to read", plan.plan_id, pending.unread, pending.total)
        if small:
            self._small(plan, texts)
            return
        plan = self._write(plan, texts)
        self.done.seconds["plan"] += time.perf_counter() - start
        self._work_on(plan)

    def _write(self, plan: Plan, texts: DataFrame) -> Plan:
        context = self.config.extractor.needed_context
        return write_plan(self.tables, plan, texts, context, self.options.retry)

    def _small(self, plan: Plan, texts: DataFrame) -> None:
        """Do a plan in this process."""
        notes = [row.asDict() for row in texts.select(*KEY, "note_text").collect()]
        self._do_small(plan, sorted(notes, key=lambda note: note["note_id"]))
        if not notes:  # of a volatile `where`: there is no status to tell that the plan has ended
            finish(self.tables, plan)

    def _do_small(self, plan: Plan, notes: list[dict[str, Any]]) -> None:
        done = run_small(self.tables, plan, self.config.extractor, notes, self.options.retry)
        self.done.plans.append(done.plan)
        self.run.facts |= {"plan_id": plan.plan_id, "notes_version": plan.notes_version}
        self.done.units_read += done.units_read
        self.done.model_loads += done.model_loads
        self.done.states += done.states
        for step, seconds in done.seconds.items():
            self.done.seconds[step] += seconds

    def _go_on(self, plan: Plan) -> None:
        """Complete a plan that an earlier run left, wherever that stopped."""
        if not plan.planned:
            texts = self._texts(plan)
            if plan.small and self.options.step == "all":
                self._small(plan, texts)
                return
            plan = self._write(plan, texts)
        self._work_on(plan)

    def _texts(self, plan: Plan) -> DataFrame:
        """Return the notes of a plan, of the version that it pins: those stored, if any are."""
        self.tables.ensure("plan_units")
        ids = units_of_plan(self.tables, plan).select(*KEY).distinct()
        if ids.limit(1).count():
            notes = self.tables.read("notes", plan.notes_version).select(*KEY, "note_text")
            return notes.join(F.broadcast(ids), KEY, "left_semi")
        retry = self.options.retry
        pending = unread_notes(self.tables, self.pipeline, plan.where, retry, plan.notes_version)
        return texts_of(self.tables, self.pipeline, pending, retry)

    def _work_on(self, plan: Plan) -> None:
        self.done.plans.append(plan)
        self.run.facts |= {"plan_id": plan.plan_id, "notes_version": plan.notes_version}
        log.info(
            "plan %s: %d notes, %d units, %d different, %d to read, %d slices",
            plan.plan_id, plan.notes, plan.units, plan.units_distinct, plan.units_planned,
            plan.slices,
        )  # fmt: skip
        step = self.options.step
        if step == "plan":
            return
        ready = range(plan.slices, plan.slices + 1) if step == "derive" else self._infer(plan)
        for last in self._derived(plan, ready) if step in ("all", "derive") else ready:
            log.debug("slices before %d are done", last)
        if step in ("all", "derive"):
            finish(self.tables, plan)

    def _infer(self, plan: Plan) -> Iterator[int]:
        """Read the plan's units, wave by wave, two at once; yield how many slices are answered."""
        counts = work_of_plan(self.tables, plan).groupBy("slice").count().collect()
        units = [0] * plan.slices
        for row in counts:
            units[row["slice"]] = row["count"]
        fixed = self._recorded(plan, "wave")
        committed = self._committed_waves(plan)
        progress = _Progress(plan.units_planned, self.started)
        pending: dict[Future[Wave], Wave] = {}
        answered = {number: wave for number, wave in fixed.items() if number in committed}
        first, number = 0, 0
        rate = 0.0
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            while first < plan.slices or pending:
                while first < plan.slices and len(pending) < IN_FLIGHT:
                    slices = fixed.get(number) or self._choose(plan, number, first, units, rate)
                    first, wave = (
                        slices[1] + 1,
                        Wave(number, slices, sum(units[slices[0] : slices[1] + 1])),
                    )
                    number += 1
                    if wave.number in answered or not wave.units:
                        answered[wave.number] = slices
                        progress.add(wave.units)
                        continue
                    future = pool.submit(
                        infer_wave, self.tables, plan, self.config.extractor, wave,
                        self.config.units_per_task,
                    )  # fmt: skip
                    pending[future] = wave
                    if not rate and not fixed:
                        break  # the first one measures
                if pending:
                    ended = self._wait(pending, progress)
                    for wave in ended:
                        answered[wave.number] = wave.slices
                        rate = max(rate, wave.units / max(wave.wall_seconds, 0.1))
                        self._count_wave(plan, wave)
                        progress.add(wave.units)
                yield _contiguous(answered)
        yield plan.slices

    def _wait(self, pending: dict[Future[Wave], Wave], progress: _Progress) -> list[Wave]:
        """Wait for a wave to end, and tell how far the run is now and then."""
        while True:
            ended, _ = wait(pending, timeout=PROGRESS_SECONDS, return_when=FIRST_COMPLETED)
            if ended:
                for future in ended:
                    pending.pop(future)
                return [future.result() for future in ended]
            progress.tell()

    def _choose(
        self, plan: Plan, number: int, first: int, units: list[int], rate: float
    ) -> tuple[int, int]:
        """Choose the slices of the next wave, and store the choice: a restart takes the same."""
        aim = rate * 60 * self.config.wave_minutes
        if not rate:
            aim = FIRST_WAVE_UNITS * slots_of(self.tables.spark)
        last, total = first, units[first]
        while last + 1 < plan.slices and total + units[last + 1] <= max(aim, 1):
            last += 1
            total += units[last]
        return self._fix(plan, "wave", number, (first, last))

    def _fix(self, plan: Plan, event: str, number: int, slices: tuple[int, int]) -> tuple[int, int]:
        """Store a choice of slices, and return the one that holds: another owner's may be first."""
        record(
            self.tables, plan, event, f"{event}s:{plan.plan_id}", number + 1,
            number=number, first_slice=slices[0], last_slice=slices[1],
        )  # fmt: skip
        return self._recorded(plan, event).get(number, slices)

    def _recorded(self, plan: Plan, event: str) -> dict[int, tuple[int, int]]:
        events = self.tables.read("plan_events").where(
            (F.col("plan_id") == plan.plan_id) & (F.col("event") == event)
        )
        return {row.number: (row.first_slice, row.last_slice) for row in events.collect()}

    def _committed_waves(self, plan: Plan) -> set[int]:
        timings = self.tables.view("timings").where(F.col("plan_id") == plan.plan_id)
        return {row.wave for row in timings.select("wave").distinct().collect()}

    def _count_wave(self, plan: Plan, wave: Wave) -> None:
        of_wave = (F.col("plan_id") == plan.plan_id) & (F.col("wave") == wave.number)
        row = (
            self.tables.view("timings").where(of_wave)
            .agg(F.coalesce(F.sum("units"), F.lit(0)), F.coalesce(F.sum("model_loads"), F.lit(0)))
            .collect()[0]
        )  # fmt: skip
        self.done.units_read += row[0]
        self.done.model_loads += row[1]
        self.done.seconds["infer"] += wave.wall_seconds
        self.done.waves.append(
            {"wave": wave.number, "units": row[0], "wall_seconds": wave.wall_seconds,
             "tasks": wave.tasks}
        )  # fmt: skip
        log.info("wave %d (slices %d to %d): %d units in %.1f s", wave.number, *wave.slices,
                 wave.units, wave.wall_seconds)  # fmt: skip

    def _derived(self, plan: Plan, ready: Iterator[int] | range) -> Iterator[int]:
        """Derive runs of answered slices, in a thread beside infer; yield how many are answered."""
        done: list[Future[None]] = []
        fixed = self._recorded(plan, "derive")
        published = self._published_runs(plan)
        length = max(1, -(-plan.slices // MOST_DERIVE_RUNS))
        first = number = 0
        with ThreadPoolExecutor(1) as pool:
            for answered in ready:
                while first < answered:
                    last = min(first + length, answered, plan.slices) - 1
                    whole = last - first + 1 == length or answered >= plan.slices
                    if number in fixed:
                        slices = fixed[number]
                        if slices[1] >= answered:
                            break
                    elif whole:
                        slices = self._fix(plan, "derive", number, (first, last))
                    else:
                        break
                    if number not in published:
                        done.append(pool.submit(self._derive, plan, number, slices))
                    first, number = slices[1] + 1, number + 1
                for future in done:
                    if future.done():
                        future.result()
                yield answered
            for future in done:
                future.result()

    def _published_runs(self, plan: Plan) -> set[int]:
        """Return the derive runs whose notes have their status."""
        status = self.tables.read("note_status").where(F.col("plan_id") == plan.plan_id)
        slices = {row["slice"] for row in status.select("slice").distinct().collect()}
        runs = self._recorded(plan, "derive").items()
        return {number for number, (first, last) in runs if slices & set(range(first, last + 1))}

    def _derive(self, plan: Plan, number: int, slices: tuple[int, int]) -> None:
        start = time.perf_counter()
        derive_run(self.tables, plan, self.config.extractor.labels, number, slices)
        seconds = time.perf_counter() - start
        self.done.seconds["derive"] += seconds
        log.info("derived slices %d to %d of %d in %.1f s", *slices, plan.slices, seconds)

    def close(self) -> None:
        """Write the run's totals; raise DataError when too many notes failed."""
        wall = time.perf_counter() - self.started
        done = self.done
        ids = [plan.plan_id for plan in done.plans if not plan.small]
        states = Counter(self._status(F.col("plan_id").isin(ids))) if ids else Counter[str]()
        notes, bad = _count_states(states + done.states)
        self.run.facts |= {
            "waves": done.waves,
            "notes": notes,
            "units": sum(plan.units for plan in done.plans),
            "units_read": done.units_read,
            "model_loads": done.model_loads,
            "failed_notes": bad,
            "notes_per_hour": 3600 * notes / wall,
            **{f"{step}_seconds": seconds for step, seconds in done.seconds.items()},
        }
        if not bad:
            return
        all_notes, all_bad = _count_states(
            self._status(F.col("pipeline_fingerprint") == self.pipeline)
        )
        if all_bad / all_notes > self.config.max_failed_share:
            raise DataError(
                f"{all_bad} of {all_notes} notes failed, more than max_failed_share"
                f" {self.config.max_failed_share}: see the view quarantine"
            )

    def _status(self, of: Column) -> dict[str, int]:
        """Count the notes by their last state."""
        status = self.tables.read("note_status").where(of)
        last = status.groupBy(*KEY).agg(F.max_by("state", "plan_number").alias("state"))
        return {row.state: row["count"] for row in last.groupBy("state").count().collect()}


def record_lost(tables: Tables, run_id: str) -> None:
    """Append the row of a run that was killed, unless it has written its own or claimed no plan.

    Of what its plan has used, all that was read since it began is its own.
    """
    if not tables.exists("plan_events"):
        return
    known = tables.read("runs") if tables.exists("runs") else None
    if known is not None and known.where(F.col("run_id") == run_id).count():
        return
    events = tables.read("plan_events").where(F.col("run_id") == run_id)
    names = ("plan_id", "pipeline_fingerprint", "model_fingerprint")
    last = [F.max_by(name, "at").alias(name) for name in names]
    run = events.agg(F.min("at").alias("started_at"), *last).collect()[0].asDict()
    if run["started_at"] is None:
        return
    plans = events.select("plan_id").distinct()
    timings = tables.view("timings").where(F.col("started_at") >= F.lit(run["started_at"]))
    sums = {"units_read": "units", "model_loads": "model_loads", "infer_seconds": "task_seconds"}
    used = timings.join(F.broadcast(plans), "plan_id", "left_semi").agg(
        *[F.coalesce(F.sum(of), F.lit(0)).alias(name) for name, of in sums.items()]
    )
    facts = {**run, **used.collect()[0].asDict()}
    append = partial(append_run, tables, f"lost:{run_id}", run_id=run_id, job="extract")
    retrying(partial(append, state="lost", host=None, pid=None, **facts))


def _characters(texts: DataFrame) -> int:
    return int(texts.agg(F.coalesce(F.sum(F.length("note_text")), F.lit(0))).collect()[0][0])


def _contiguous(answered: dict[int, tuple[int, int]]) -> int:
    """Return how many slices, from the first on, belong to answered waves."""
    slices = 0
    for number in range(len(answered)):
        if number not in answered:
            break
        slices = answered[number][1] + 1
    return slices


def _count_states(states: dict[str, int]) -> tuple[int, int]:
    """Return the number of notes, and of those that failed."""
    return sum(states.values()), states.get("failed", 0) + states.get("quarantined", 0)


class _Progress:
    """Tells at times how many units are read, how fast, and how long the rest takes."""

    def __init__(self, planned: int, started: float) -> None:
        self.planned, self.read = planned, 0
        self._began = time.perf_counter()

    def add(self, units: int) -> None:
        self.read += units

    def tell(self) -> None:
        seconds = time.perf_counter() - self._began
        rate = self.read / seconds if self.read else 0.0
        left = f"{(self.planned - self.read) / rate / 60:.0f} minutes left" if rate else "measuring"
        log.info("%d of %d units read, %.0f a second, %s", self.read, self.planned, rate, left)


def summary(tables: Tables, facts: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what a run did, for people: counts, seconds, the slowest task, what was left out."""
    names = ("plan_id", "notes", "failed_notes", "units", "units_read", "model_loads")
    rows: list[tuple[str, object]] = [(name, facts.get(name) or 0) for name in names]
    rows += [(f"{s} seconds", f"{facts.get(f'{s}_seconds', 0):.1f}") for s in _STEPS]
    rows.append(("notes per hour", f"{facts.get('notes_per_hour', 0):,.0f}"))
    of_plan = F.col("plan_id") == F.lit(facts.get("plan_id"))
    slowest = tables.view("timings").where(of_plan).orderBy(F.desc("task_seconds")).head(1)
    rows.append(("slowest partition", _task(slowest[0]) if slowest else "none: nothing was read"))
    dropped = tables.read("note_status").where(of_plan).select(F.explode("dropped"))
    counts = dropped.groupBy("key").agg(F.sum("value").alias("count")).orderBy("key").collect()
    rows += [(f"left out: {row.key}", row["count"]) for row in counts]
    return [*rows, ("tables", tables.config.database or tables.config.location)]


def _task(row: Row) -> str:
    return (
        f"wave {row.wave}, partition {row.partition} on {row.device}: {row.units} units in"
        f" {row.task_seconds:.1f} s ({row.load_seconds:.1f} s load)"
    )
