"""Read the units of a wave with the model: one `mapInArrow`, one append.

What runs on executors is here, in the library: a function of a job file would be pickled by
value, and its model cache would be a new one in every task.
"""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from spanlake.core.config import ExtractorConfig
from spanlake.core.errors import ModelError, TransientError
from spanlake.core.spans import Relation
from spanlake.core.units import Extraction, Unit
from spanlake.models import Extractor, load_extractor
from spanlake.models.devices import assign_gpus
from spanlake.models.guard import extract_safely
from spanlake.spark.claims import Plan
from spanlake.spark.schemas import ANSWER, TIMING
from spanlake.spark.tables import Tables

TOO_MANY_TO_BLAME = 32
UNITS_AT_ONCE = 2048  # enough for length-sorted batches, few enough for an early first row
READ = T.StructType([T.StructField("unit_sha256", T.StringType()), *ANSWER.fields])
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
    _CACHE[config_json] = load_extractor(ExtractorConfig.model_validate_json(config_json))
    return _CACHE[config_json], time.perf_counter() - start


def infer_wave(tables: Tables, plan: Plan, extractor: ExtractorConfig, wave: int) -> None:
    """Append the answers of a wave's units, and its timings; a wave that is there is skipped."""
    work = tables.read("work").where((F.col("plan_id") == plan.plan_id) & (F.col("wave") == wave))
    rows = read_units(work, extractor, plan)
    marked = rows.withColumns(
        {
            "plan_id": F.lit(plan.plan_id),
            "wave": F.lit(wave),
            "model_fingerprint": F.lit(plan.model_fingerprint),
        }
    )
    tables.append("extractions", marked, f"extractions:{plan.plan_id}:{wave}")
    _append_timings(tables, plan, wave)


def _append_timings(tables: Tables, plan: Plan, wave: int) -> None:
    mine = (F.col("plan_id") == plan.plan_id) & (F.col("wave") == wave)
    last = tables.read("extractions").where(mine & F.col("timing").isNotNull())
    rows = last.select("plan_id", "wave", "timing.*")
    tables.append("timings", rows, f"timings:{plan.plan_id}:{wave}")


def read_units(work: DataFrame, extractor: ExtractorConfig, plan: Plan) -> DataFrame:
    """Return answers to units (unit_sha256, target, left, right, section), with a timing a task.

    The numeric repartition right before the map is what adaptive execution leaves alone; the
    result must be written once, and neither sorted, filtered nor shown.
    """
    columns = work.select("unit_sha256", "target", "left", "right", "section")
    tasks = _tasks(work, plan.units_per_task)
    reader = reader_of(extractor.model_dump_json(), plan.model_fingerprint)
    return columns.repartition(tasks).mapInArrow(reader, READ_WITH_TIMING)


def _tasks(work: DataFrame, units_per_task: int) -> int:
    slots = work.sparkSession.sparkContext.defaultParallelism
    units = work.count()
    return max(1, min(units, max(slots, round(units / units_per_task))))


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
        task = _Task(config_json, fingerprint)
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


class _Task:
    """What one task does and counts."""

    def __init__(self, config_json: str, fingerprint: str) -> None:
        self.started = time.perf_counter()
        self.started_at = datetime.now(UTC)
        self.extractor, self.load_seconds = _planned_extractor(config_json, fingerprint)
        self.extractor.stats.take()  # forget what a task before this one left unreported
        self.units = 0
        self.chars = 0

    def answer(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        units = [Unit(r["target"], r["left"], r["right"], r["section"]) for r in rows]
        self.units += len(units)
        self.chars += sum(len(unit.target) for unit in units)
        answers = extract_safely(self.extractor, units)
        _refuse_total_failure(answers)
        return [
            {"unit_sha256": row["unit_sha256"], **to_row(answer)}
            for row, answer in zip(rows, answers, strict=True)
        ]

    def timing(self) -> dict[str, Any]:
        context = TaskContext.get()
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
            "generated_tokens": 0,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            **asdict(self.extractor.stats.take()),
        }


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
