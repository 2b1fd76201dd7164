"""A few notes, done by the driver itself: the same functions, ids and transactions, without jobs.

Starting workers and loading a model into them costs more than reading a day's notes. The plan is
stored first, as always, so that a run that is killed goes on where it was.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import functions as F

from spanlake.config.extractors import ExtractorConfig
from spanlake.core.assemble import merge
from spanlake.core.labels import load_labels
from spanlake.core.types import Extraction, Note, Sentence, Span
from spanlake.spark.derive import MERGED, publish, result_columns, to_extraction
from spanlake.spark.infer import READ_WITH_TIMING, Task
from spanlake.spark.plan import KEY, MAX_TRANSIENT, UNITS, Plan, unit_rows
from spanlake.spark.schemas import ANSWER
from spanlake.spark.tables import Tables

WAVE = 0
ANSWERS = ("ok", "unreadable", "transient")  # the best first


@dataclass(frozen=True, slots=True)
class Small:
    """What a small run did: the plan with its counts, and the seconds of its steps."""

    plan: Plan
    units_read: int
    model_loads: int
    states: Counter[str]
    seconds: dict[str, float]


def run_small(
    tables: Tables,
    plan: Plan,
    extractor: ExtractorConfig,
    notes: list[dict[str, Any]],
    retry: bool = False,
) -> Small:
    """Store a plan of these notes (note_id, text_sha256, note_text), read them, and publish.

    Safe to repeat with the same notes: what has been committed is skipped. With `retry`, texts that
    had been given up are read again.
    """
    start = time.perf_counter()
    rows = [
        row for note in notes for row in unit_rows({**note, "slice": 0}, extractor.needed_context)
    ]
    units = tables.spark.createDataFrame(rows, UNITS) if rows else None
    if units is not None:
        marked = units.withColumn("plan_id", F.lit(plan.plan_id))
        tables.append("plan_units", marked, f"plan_units:{plan.plan_id}", 1)
    texts = {note["note_id"]: note["note_text"] for note in notes}
    keyed = {row["unit_key"]: row for row in reversed(rows) if row.get("unit_key") is not None}
    stored = _stored(tables, plan, list(keyed))
    planned = time.perf_counter()
    been_read = any(
        row["plan_id"] == plan.plan_id for stored_rows in stored.values() for row in stored_rows
    )
    unread = [] if been_read else [r for k, r in keyed.items() if not _settled(stored[k], retry)]
    read, loads = _read(tables, plan, extractor, unread, texts)
    inferred = time.perf_counter()
    answers = {key: _best([*stored[key], *read.get(key, [])]) for key in keyed}
    states = _publish(tables, plan, extractor, notes, rows, answers)
    seconds = {
        "plan": planned - start,
        "infer": inferred - planned,
        "derive": time.perf_counter() - inferred,
    }
    counted = replace(
        plan,
        notes=len(notes),
        units=sum("unit_key" in row for row in rows),
        units_distinct=len(keyed),
        units_planned=len(unread),
        planned=True,
    )
    return Small(counted, len(unread), loads, states, seconds)


def _stored(tables: Tables, plan: Plan, keys: list[bytes]) -> dict[bytes, list[Any]]:
    """Return the stored answers of the keys, the oldest first."""
    tables.ensure("extractions")
    if not keys:
        return {}
    wanted = tables.spark.createDataFrame([(key,) for key in keys], "unit_key binary")
    model_answers = tables.read("extractions").where(
        F.col("model_fingerprint") == plan.model_fingerprint
    )
    answers = model_answers.join(F.broadcast(wanted), "unit_key", "left_semi")
    by_key: dict[bytes, list[Any]] = defaultdict(list)
    for row in answers.select("unit_key", "plan_id", "wave", *ANSWER.names).collect():
        by_key[bytes(row["unit_key"])].append(row.asDict(recursive=True))
    for rows in by_key.values():
        rows.sort(key=lambda row: (row["plan_id"], row["wave"]))
    return by_key


def _settled(rows: list[Any], retry: bool) -> bool:
    outcomes = {row["outcome"] for row in rows}
    if retry:
        return "ok" in outcomes
    return bool(outcomes - {"transient"}) or len(rows) >= MAX_TRANSIENT


def _best(rows: list[Any]) -> dict[str, Any]:
    """Return a unit's answer, given up or not: the first that was read, else the first."""
    best: dict[str, Any] = min(rows, key=lambda row: ANSWERS.index(row["outcome"]))
    given_up = best["outcome"] == "transient" and len(rows) >= MAX_TRANSIENT
    return {**best, "outcome": "unreadable"} if given_up else best


def _read(
    tables: Tables,
    plan: Plan,
    extractor: ExtractorConfig,
    unread: list[dict[str, Any]],
    texts: dict[str, str],
) -> tuple[dict[bytes, list[Any]], int]:
    """Read units with the model, here, and store the answers; return them by key, and the loads."""
    if not unread:
        return {}, 0
    task = Task(extractor.model_dump_json(), plan.model_fingerprint)
    places = [
        {
            "unit_key": row["unit_key"],
            "target": texts[row["note_id"]][row["start"] : row["end"]],
            "left": texts[row["note_id"]][row["left_start"] : row["start"]],
            "right": texts[row["note_id"]][row["end"] : row["right_end"]],
        }
        for row in unread
    ]
    answers = task.answer(places)
    answers[-1]["timing"] = timing = task.timing()
    marks = {
        "plan_id": F.lit(plan.plan_id),
        "wave": F.lit(WAVE),
        "model_fingerprint": F.lit(plan.model_fingerprint),
    }
    rows = tables.spark.createDataFrame(answers, READ_WITH_TIMING).withColumns(marks)
    tables.append("extractions", rows, f"extractions:{plan.plan_id}:{WAVE}", 1)
    return {row["unit_key"]: [row] for row in answers}, timing["model_loads"]


def _publish(
    tables: Tables,
    plan: Plan,
    extractor: ExtractorConfig,
    notes: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    answers: dict[bytes, dict[str, Any]],
) -> Counter[str]:
    labels = load_labels(extractor.labels)
    by_note: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row.get("unit_key") is not None:
            by_note[row["note_id"]].append(row)
    merged = []
    for note in notes:
        note_rows, text = by_note[note["note_id"]], note["note_text"]
        sentences = [Sentence(Span(row["start"], row["end"]), row["section"]) for row in note_rows]
        extractions: list[Extraction] = [
            to_extraction(answers[row["unit_key"]], text[row["start"] : row["end"]])
            for row in note_rows
        ]
        result = merge(
            Note(note["note_id"], text), sentences, extractions, labels, plan.pipeline_fingerprint
        )
        shared = {"slice": 0, **{name: note[name] for name in KEY}}
        merged.append({**shared, **result_columns(result)})
    if merged:
        publish(tables, plan, tables.spark.createDataFrame(merged, MERGED), WAVE)
    return Counter(row["state"] for row in merged)
