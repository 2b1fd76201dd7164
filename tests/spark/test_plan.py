"""Plans are claimed by one run and taken over from the dead; failures are tried three times."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest
from pyspark.sql import functions as F

from notes_source import jsonl_source
from spanlake.core.config import TablesConfig
from spanlake.core.errors import DataError, PlanError
from spanlake.core.sentences import split
from spanlake.core.units import Extraction, Unit, units_of
from spanlake.spark import claims, infer, plan
from spanlake.spark.extract import extract
from spanlake.spark.ingest import ingest
from spanlake.spark.plan import KEY
from spanlake.spark.runs import Run
from spanlake.spark.summary import summary
from spanlake.spark.tables import Tables
from spanlake.spark.units import as_units, unit_sha256

NOTES = {"a": "No fever.\nTakes aspirin.", "b": "No fever.\nHeadache."}


@pytest.fixture(scope="module")
def place(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    tables = Tables(spark, TablesConfig(location=str(folder / "tables")))
    ingest(tables, jsonl_source(folder, NOTES))
    return tables


@pytest.fixture
def ready(place):
    """Ingested notes. Plans of other tests are there too: each test takes a pipeline of its own."""
    return place


@pytest.fixture
def pipeline(request):
    return hashlib.sha256(request.node.name.encode()).hexdigest()


def work_of(tables, made):
    return tables.read("work").where(F.col("plan_id") == made.plan_id)


def test_spark_hashes_a_unit_as_python_does(spark):
    text = "İ \U0001f600 cafe\u0301\u00a0\f\r\n"
    for unit in (Unit(text), Unit("b", "a\n", text), Unit("b", "", "c")):
        sides = [F.lit(part) for part in (unit.left, unit.target, unit.right)]
        row = spark.range(1).select(unit_sha256(*sides)).first()
        assert row[0] == unit.unit_sha256


@pytest.mark.parametrize("context", [0, 1, 3])
def test_spark_finds_the_same_neighbours_as_python(spark, tmp_path, context):
    texts = {
        "a": "HISTORY:\n\nNo fever.  Takes aspirin \U0001f600.\nİ slept. No.\r\nYes.",
        "b": "No fever.",
        "c": "No fever.\nHeadache.",
    }
    tables = Tables(spark, TablesConfig(location=str(tmp_path / "tables")))
    ingest(tables, jsonl_source(tmp_path, texts))
    rows = tables.read("sentences").join(tables.read("notes").select(*KEY, "note_text"), KEY)
    found = as_units(rows, context).orderBy("note_id", "sentence_index").collect()
    expected = [u for text in texts.values() for u in units_of(text, split(text), context)]
    assert [(r.left, r.text, r.right) for r in found] == [
        (u.left, u.target, u.right) for u in expected
    ]
    assert [r.unit_sha256 for r in found] == [u.unit_sha256 for u in expected]


def test_of_two_plans_at_once_one_is_refused(ready, config, pipeline):
    with Run(ready, "extract", config()) as first, Run(ready, "extract", config()) as second:
        mine = plan.make_plan(ready, first, config(), "m", pipeline)
        # The second run measured the same notes before the first one's claim was there.
        theirs = replace(mine, run_id=second.run_id)
        with pytest.raises(PlanError, match=f"belongs to run {first.run_id}"):
            claims.claim(ready, theirs)
    work = work_of(ready, mine)
    assert work.count() == work.select("unit_sha256").distinct().count() == 3


def test_a_plan_of_a_living_run_is_not_taken(ready, config, pipeline):
    with Run(ready, "extract", config()) as first, Run(ready, "extract", config()) as second:
        mine = plan.make_plan(ready, first, config(), "m", pipeline)
        with pytest.raises(PlanError, match="is being worked on by run"):
            claims.take_over(ready, mine, second, config())


def _set_run(tables, run, sql):
    tables.spark.sql(f"UPDATE {tables.name('runs')} SET {sql} WHERE run_id = '{run.run_id}'")


@pytest.mark.parametrize(
    "death",
    [
        "pid = 4194304",  # no process of this host has it
        "host = 'elsewhere', heartbeat_at = current_timestamp() - INTERVAL 31 MINUTES",
        "state = 'failed'",
    ],
)
def test_a_plan_of_a_dead_run_is_taken_over(ready, config, death, pipeline):
    with Run(ready, "extract", config()) as first, Run(ready, "extract", config()) as second:
        mine = plan.make_plan(ready, first, config(), "m", pipeline)
        _set_run(ready, first, death)
        claims.take_over(ready, mine, second, config())
        assert claims.unfinished(ready, pipeline).run_id == second.run_id


def test_a_run_elsewhere_lives_while_its_heart_beats(ready, config, pipeline):
    with Run(ready, "extract", config()) as first:
        _set_run(ready, first, f"host = 'elsewhere', pid = {os.getpid()}")
        assert claims._alive(ready, first.run_id, stale_minutes=10)


def test_a_plan_whose_run_died_before_the_work_was_written_is_completed(
    ready, config, monkeypatch, pipeline
):
    write = plan.write_work
    monkeypatch.setattr(plan, "write_work", lambda *_: None)
    with Run(ready, "extract", config()) as first:
        mine = plan.make_plan(ready, first, config(), "m", pipeline)
    assert work_of(ready, mine).count() == 0
    monkeypatch.setattr(plan, "write_work", write)
    with Run(ready, "extract", config()) as second:
        plan.write_work(ready, claims.take_over(ready, mine, second, config()), 0)
        assert work_of(ready, mine).count() == 3
        plan.write_work(ready, mine, 0)
    assert work_of(ready, mine).count() == 3, "written twice is written once"


def test_a_step_that_reads_nothing_says_what_it_did(fresh):
    planned = {"plan_id": "p-1", "units": 3}
    assert "planned 3 units as p-1: go on with --step infer" in summary(fresh, planned, "plan")
    assert summary(fresh, {}, "plan").startswith("nothing to plan")
    assert summary(fresh, planned, "abandon").startswith("gave up plan p-1")


@pytest.mark.slow
def test_a_plan_that_is_abandoned_leaves_nothing_and_can_be_made_anew(fresh, source, config):
    ingest(fresh, source(NOTES))
    with pytest.raises(PlanError, match="no unfinished plan to abandon"):
        extract(fresh, config(), "abandon")
    extract(fresh, config(), "plan")
    assert fresh.read("work").count() == 3
    extract(fresh, config(), "abandon")
    assert fresh.read("work").count() == 0
    assert fresh.read("plans").where("finished_at IS NULL").count() == 0
    extract(fresh, config())
    assert set(_states(fresh).values()) == {"done"}


def _answers(monkeypatch, outcome):
    """Let every unit with a headache end in `outcome`, in this process and without workers."""

    def read_units(work, extractor, plan):
        answers = []
        for row in work.collect():
            bad = "Headache" in row.target
            seen = Extraction("ok", chars_seen=len(row.target))
            answer = Extraction(outcome, error_class="Broken") if bad else seen
            answers.append({"unit_sha256": row.unit_sha256, **infer.to_row(answer)})
        return work.sparkSession.createDataFrame(answers, infer.READ_WITH_TIMING)

    monkeypatch.setattr(infer, "read_units", read_units)


def _states(tables):
    return {row.note_id: row.state for row in tables.read("note_status").collect()}


@pytest.mark.slow
def test_a_transient_failure_is_planned_again_at_most_three_times(
    fresh, source, config, monkeypatch
):
    ingest(fresh, source(NOTES))
    _answers(monkeypatch, "transient")
    tolerant = config(max_failed_share=1)
    for _ in range(plan.MAX_TRANSIENT - 1):
        extract(fresh, tolerant)
        assert _states(fresh) == {"a": "done", "b": "failed"}
    third = extract(fresh, tolerant)
    assert (third["notes"], third["units_read"]) == (1, 0), "timings tell what was read: none here"
    assert _states(fresh) == {"a": "done", "b": "quarantined"}
    tried = fresh.read("extractions").where("outcome = 'transient'").count()
    assert tried == plan.MAX_TRANSIENT


def test_an_unreadable_text_is_quarantined_and_says_how_much_was_not_seen(
    fresh, source, config, monkeypatch
):
    ingest(fresh, source(NOTES))
    _answers(monkeypatch, "unreadable")
    with pytest.raises(DataError, match=r"1 of 2 notes failed"):
        extract(fresh, config())
    fresh.register_views()
    row = fresh.spark.table("quarantine").collect()[0]
    assert (row.note_id, row.state, row.error_class) == ("b", "quarantined", "Broken")
    assert row.chars - row.chars_seen == len("Headache.")
