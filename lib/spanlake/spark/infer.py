"""Read the units of a wave with the model: one `mapInArrow`, one append.

What runs on executors is here, in the library: a function of a job file would be pickled by
value, and its model cache would be a new one in every task.
"""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from spanlake.config.extractors import ExtractorConfig, extractor_config
from spanlake.core.types import Extraction, Relation, Unit
from spanlake.errors import ModelError, TransientError
from spanlake.models import Extractor, load_extractor
from spanlake.models.devices import assign_gpus, used_millijoules
from spanlake.models.safe_extract import extract_safely
from spanlake.spark.plan import KEY, Plan, work_of_plan
from spanlake.spark.schemas import ANSWER, TIMING
from spanlake.spark.tables import Tables

TOO_MANY_TO_BLAME = 32
BROADCAST_UNITS = 1_000_000  # places of so many units are sent to every executor
UNITS_AT_ONCE = 2048  # enough for length-sorted batches, few enough for an early first row
READ = T.StructType([T.StructField("unit_key", T.BinaryType()), *ANSWER.fields])
READ_WITH_TIMING = T.StructType([*READ.fields, T.StructField("timing", TIMING)])
ARROW = to_arrow_schema(READ_WITH_TIMING, timezone="UTC")

_CACHE: dict[str, Extractor] = {}


def cached_extractor(config_json: str) -> tuple[Extractor, float]:
    """Return this process's extractor and the seconds that loading it took (0.0: it was there).

    One model at a time: a worker that is given another configuration forgets the first.
    """
    if config_json in _CACHE:
        return _CACHE[config_json], 0.0
    _CACHE.clear()
    start = time.perf_counter()
    gpu = context.resources().get("gpu") if (context := TaskContext.get()) else None
    assign_gpus(gpu.addresses if gpu else [])
    _CACHE[config_json] = load_extractor(extractor_config(**json.loads(config_json)))
    return _CACHE[config_json], time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Wave:
    """A run of consecutive slices whose units are read by one job, and what it took."""

    number: int
    slices: tuple[int, int]
    units: int
    wall_seconds: float = 0.0
    tasks: int = 0


def infer_wave(
    tables: Tables, plan: Plan, extractor: ExtractorConfig, wave: Wave, units_per_task: int
) -> Wave:
    """Append the answers of a wave's units; a wave that is there is skipped by Delta.

    Returns the wave with its wall seconds and number of tasks.
    """
    start = time.perf_counter()
    slots = slots_of(tables.spark)
    rounds = max(1, round(wave.units / (units_per_task * slots)))
    tasks = max(1, min(wave.units, rounds * slots))
    rows = read_units(_texts(tables, plan, wave), extractor, plan.model_fingerprint, tasks)
    marks = {
        "plan_id": F.lit(plan.plan_id),
        "wave": F.lit(wave.number),
        "model_fingerprint": F.lit(plan.model_fingerprint),
    }
    tables.append(
        "extractions", rows.withColumns(marks), f"extractions:{plan.plan_id}:{wave.number}", 1
    )
    return replace(wave, wall_seconds=time.perf_counter() - start, tasks=tasks)


def slots_of(spark: SparkSession) -> int:
    """Return how many tasks run at once, as far as the settings tell."""
    for key in ("spark.default.parallelism", "spark.sql.leafNodeDefaultParallelism"):
        value = spark.conf.get(key, None)
        if value:
            return int(value)
    master = spark.conf.get("spark.master", None) or ""
    local = re.fullmatch(r"local(?:-cluster)?\[(\d+|\*)(?:,(\d+))?.*\]", master)
    if local:
        count = os.cpu_count() or 1 if local[1] == "*" else int(local[1])
        return count * int(local[2] or 1) if master.startswith("local-cluster") else count
    executors = int(spark.conf.get("spark.executor.instances", None) or 2)
    cores = int(spark.conf.get("spark.executor.cores", None) or 1)
    return max(1, executors * cores // int(spark.conf.get("spark.task.cpus", None) or 1))


def _texts(tables: Tables, plan: Plan, wave: Wave) -> DataFrame:
    """Return a wave's units with their texts, cut out of the notes: these are not shuffled."""
    places = work_of_plan(tables, plan, wave.slices).drop("slice", "plan_id")
    notes = tables.read("notes", plan.notes_version).select(*KEY, "note_text")
    joined = notes.join(F.broadcast(places) if wave.units <= BROADCAST_UNITS else places, KEY)

    def cut(start: str, end: str) -> Column:
        return F.substring("note_text", F.col(start) + 1, F.col(end) - F.col(start))

    return joined.select(
        "unit_key",
        cut("start", "end").alias("target"),
        cut("left_start", "start").alias("left"),
        cut("end", "right_end").alias("right"),
    )


def read_units(
    texts: DataFrame, extractor: ExtractorConfig, fingerprint: str, tasks: int
) -> DataFrame:
    """Return answers to units (unit_key, target, left, right), with a timing a task.

    The numeric repartition right before the map is what adaptive execution leaves alone; by key it
    needs no sort and is as even. The result must be written once, and neither sorted, filtered nor
    shown.
    """
    reader = reader_of(extractor.model_dump_json(), fingerprint)
    return texts.repartition(tasks, "unit_key").mapInArrow(reader, READ_WITH_TIMING)


def reader_of(
    config_json: str, fingerprint: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function for `mapInArrow`; it carries the configuration as text, and no model.

    In the worker it raises ModelError when the model there is not the one of the fingerprint.
    """

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (row for batch in batches for row in batch.to_pylist())
        first = next(rows, None)
        if first is None:
            return  # an empty task loads no model
        task = Task(config_json, fingerprint)
        waiting = [first]
        for row in rows:
            if len(waiting) == UNITS_AT_ONCE:
                yield _batch(task.answer(waiting))
                waiting = []
            waiting.append(row)
        answers = task.answer(waiting)
        answers[-1]["timing"] = task.timing()
        yield _batch(answers)

    return read


def _planned_extractor(config_json: str, fingerprint: str) -> tuple[Extractor, float]:
    """Return the plan's model; one trained anew since this worker loaded it is reloaded."""
    extractor, seconds = cached_extractor(config_json)
    if extractor.fingerprint != fingerprint:
        _CACHE.clear()
        extractor, seconds = cached_extractor(config_json)
    if extractor.fingerprint != fingerprint:
        raise ModelError(f"the model on host {socket.gethostname()} is not the one of the plan")
    return extractor, seconds


def _refuse_total_failure(answers: list[Extraction]) -> None:
    """Fail the task where nothing can be read: that is the worker's fault, not the texts'."""
    if len(answers) >= TOO_MANY_TO_BLAME and all(a.outcome != "ok" for a in answers):
        raise TransientError(f"none of {len(answers)} units was read: {answers[0].error_class}")


class Task:
    """What one task does and counts."""

    def __init__(self, config_json: str, fingerprint: str) -> None:
        self.started = time.perf_counter()
        self.started_at = datetime.now(UTC)
        self.extractor, self.load_seconds = _planned_extractor(config_json, fingerprint)
        self.extractor.stats.take()  # forget what a task before this one left unreported
        self.units = 0
        self.chars = 0
        self.energy, _ = used_millijoules(self.extractor.device)

    def answer(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        units = [Unit(r["target"], r["left"], r["right"]) for r in rows]
        self.units += len(units)
        self.chars += sum(len(unit.target) for unit in units)
        answers = extract_safely(self.extractor, units)
        _refuse_total_failure(answers)
        return [
            {"unit_key": row["unit_key"], **to_row(answer)}
            for row, answer in zip(rows, answers, strict=True)
        ]

    def timing(self) -> dict[str, Any]:
        context = TaskContext.get()
        energy, source = used_millijoules(self.extractor.device)
        return {
            "partition": context.partitionId() if context else 0,
            "attempt": context.attemptNumber() if context else 0,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": self.extractor.device,
            "model_loads": int(self.load_seconds > 0),
            "load_seconds": self.load_seconds,
            "task_seconds": time.perf_counter() - self.started,
            "started_at": self.started_at,
            "units": self.units,
            "chars": self.chars,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "energy_joules": _joules(self.energy, energy),
            "energy_source": source,
            **asdict(self.extractor.stats.take()),
        }


def _joules(before: int | None, after: int | None) -> float | None:
    return None if before is None or after is None else (after - before) / 1000


def to_row(answer: Extraction) -> dict[str, Any]:
    """Return an extraction as a row of `extractions`: offsets and labels, no text."""
    return {
        "outcome": answer.outcome,
        "entities": [
            {"label": e.label, "start": e.start, "end": e.end, "score": e.score}
            for e in answer.entities
        ],
        "relations": _links(answer.relations),
        "chars_seen": answer.chars_seen,
        "error_class": answer.error_class,
        "reason": answer.reason,
        "confidence": answer.confidence,
        "undecided": _links(answer.undecided),
    }


def _links(relations: Iterable[Relation]) -> list[dict[str, Any]]:
    return [{"head": r.head, "tail": r.tail, "label": r.label, "score": r.score} for r in relations]


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=ARROW)
