"""Plans are claimed by one run and taken over from the dead; failures are tried three times."""

from __future__ import annotations

import hashlib

import pytest

from notes_source import jsonl_source
from spanlake.config.extract import TablesConfig
from spanlake.config.extractors import extractor_config
from spanlake.core.types import Extraction, Unit, units_of
from spanlake.errors import DataError, PlanError
from spanlake.spark import infer, leases, plan, small_runs
from spanlake.spark.extract import extract
from spanlake.spark.infer import Wave
from spanlake.spark.ingest import ingest
from spanlake.spark.leases import Lease, identity
from spanlake.spark.tables import Tables
from spanlake.text.sentences import split

WAYS = pytest.mark.parametrize("way", ["driver", pytest.param("spark", marks=pytest.mark.long)])
NOTES = {"a": "No fever.\nTakes aspirin.", "b": "No fever.\nHeadache."}
HARD = {
    "a": "HISTORY:\n\nNo fever.  Takes aspirin \U0001f600.\nİ slept. No.\r\nYes.",
    "b": "No fever.",
    "c": "No fever.\nHeadache.",
    "d": "\ufeff \r\n",
}


@pytest.fixture(scope="module")
def place(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    tables = Tables(spark, TablesConfig(location=str(folder / "tables")))
    ingest(tables, jsonl_source(folder, HARD))
    return tables


@pytest.fixture
def ready(place):
    """Ingested notes. Plans of other tests are there too: each test takes a pipeline of its own."""
    return place


@pytest.fixture
def claim(ready, config, request):
    """Claim a plan of a pipeline of this test's own."""
    pipeline = hashlib.sha256(request.node.name.encode()).hexdigest()

    def claimed(run_id="first", number=1, slices=2):
        version = ready.version("notes")
        ready.ensure("note_status")
        ready.ensure("plan_events")
        found = (pipeline, pipeline)
        return plan.claim(ready, config(), run_id, found, number, slices, version, small=False)

    return claimed


def _written(tables, made, context=0):
    found = plan.unread_notes(tables, made.pipeline_fingerprint, None)
    texts = plan.texts_of(tables, made.pipeline_fingerprint, found)
    return plan.write_plan(tables, made, texts, context)


@pytest.mark.parametrize("context", [0, 1, 3])
def test_a_plan_holds_the_units_that_the_library_makes(ready, claim, context):
    """And what Spark cuts out of the notes is what the unit's key was made of."""
    made = _written(ready, claim(), context)
    rows = plan.units_of_plan(ready, made).where("unit_key IS NOT NULL")
    stored = sorted((r.note_id, r.sentence_index, bytes(r.unit_key)) for r in rows.collect())
    expected = {
        (note_id, i): unit
        for note_id, text in HARD.items()
        for i, unit in enumerate(units_of(text, split(text), context))
    }
    assert stored == [(*place, unit.unit_key) for place, unit in sorted(expected.items())]
    distinct = {unit.unit_key for unit in expected.values()}
    assert (made.notes, made.units, made.units_distinct) == (4, len(expected), len(distinct))
    texts = infer._texts(ready, made, Wave(0, (0, 1), made.units_planned)).collect()
    assert len(texts) == made.units_planned == len(distinct)
    cut = [(bytes(r.unit_key), Unit(r.target, r.left, r.right).unit_key) for r in texts]
    assert {key for key, _ in cut} == distinct
    assert all(key == again for key, again in cut)


@pytest.mark.slow
def test_a_plan_that_is_written_twice_is_written_once(ready, claim):
    made = _written(ready, claim(slices=5))
    assert _written(ready, made) == made
    work = plan.work_of_plan(ready, made)
    assert work.count() == work.select("unit_key").distinct().count() == made.units_distinct
    assert plan.units_of_plan(ready, made).count() == made.units + 1, "a blank note is a row too"
    first = {}
    for row in plan.units_of_plan(ready, made).where("unit_key IS NOT NULL").collect():
        first[bytes(row.unit_key)] = min(row.slice, first.get(bytes(row.unit_key), 5))
    assert {bytes(row.unit_key): row.slice for row in work.collect()} == first
    assert len(set(first.values())) > 1
    last, is_open = plan.last_plan(ready, made.pipeline_fingerprint)
    assert (last, is_open) == (made, True)
    plan.finish(ready, made)
    assert plan.last_plan(ready, made.pipeline_fingerprint)[1] is False
    assert work.count() == 0


def test_of_two_plans_at_once_one_is_refused(ready, claim):
    mine = claim("first")
    # The second run counted the same notes before the first one's claim was there.
    with pytest.raises(PlanError, match="belongs to run first"):
        claim("second")
    assert plan.last_plan(ready, mine.pipeline_fingerprint) == (mine, True)


def test_of_two_that_take_over_one_is_refused(ready, claim):
    mine = claim("first")
    taken = plan.take_over(ready, mine, "second")
    with pytest.raises(PlanError, match="belongs to run second"):
        plan.take_over(ready, mine, "third")
    assert (taken.run_id, taken.epoch) == ("second", 2)
    assert plan.last_plan(ready, mine.pipeline_fingerprint) == (taken, True)
    with pytest.raises(PlanError, match="belongs to run second"):
        plan.require_owner(ready, mine)
    assert plan.take_over(ready, taken, "third").epoch == 3


@pytest.mark.slow
def test_a_plan_of_a_living_run_is_waited_for_and_a_dead_one_s_is_taken(
    fresh, source, config, monkeypatch
):
    """A run on another machine is told from a dead one by its lease alone."""
    ingest(fresh, source(NOTES))
    extract(fresh, config(), "plan")
    owner = fresh.read("plan_events").where("event = 'claimed'").first().run_id
    with Lease(fresh, owner, pytest.fail), pytest.raises(PlanError, match="Wait for it to finish"):
        extract(fresh, config())
    monkeypatch.setattr(leases, "FILE_SECONDS", 0.2)
    elsewhere = {**identity(), "boot": "another"}
    with monkeypatch.context() as patch:
        patch.setattr(leases, "identity", lambda: elsewhere)
        lease = Lease(fresh, owner, pytest.fail)
    with lease:
        with pytest.raises(PlanError, match="--wait watches it"):
            extract(fresh, config())
        with pytest.raises(PlanError, match="Wait for it to finish"):
            extract(fresh, config(), wait=True)
        lease._stop.set()
        facts = extract(fresh, config(), wait=True)
    assert (facts["notes"], facts["units_read"]) == (2, 3)
    assert fresh.read("plan_events").where("event = 'taken_over'").count() == 1
    assert not fresh.read("runs").where("state = 'lost'").count(), "it has written its own row"


@pytest.mark.slow
def test_a_plan_that_is_abandoned_leaves_nothing_and_can_be_made_anew(fresh, source, config):
    ingest(fresh, source(NOTES))
    with pytest.raises(PlanError, match="no unfinished plan to abandon"):
        extract(fresh, config(), "abandon")
    extract(fresh, config(), "plan")
    assert fresh.read("work").count() == 3
    extract(fresh, config(), "abandon")
    assert fresh.read("work").count() == 0
    assert fresh.read("plan_events").where("event = 'abandoned'").count() == 1
    facts = extract(fresh, config())
    assert set(_states(fresh).values()) == {"done"}
    assert facts["plan_id"].endswith("-000002")


@pytest.fixture
def headaches(monkeypatch):
    """Let every unit with a headache end in an outcome, in this process and without workers."""
    outcomes = ["ok"]

    def answer(row):
        bad = "Headache" in row["target"] and outcomes[0] != "ok"
        seen = Extraction("ok", chars_seen=len(row["target"]))
        given = Extraction(outcomes[0], error_class="Broken") if bad else seen
        return {"unit_key": row["unit_key"], **infer.to_row(given)}

    def read_units(texts, extractor, fingerprint, tasks):
        answers = [answer(row.asDict()) for row in texts.collect()]
        return texts.sparkSession.createDataFrame(answers, infer.READ_WITH_TIMING)

    monkeypatch.setattr(infer, "read_units", read_units)
    monkeypatch.setattr(small_runs.Task, "answer", lambda _, rows: [answer(row) for row in rows])
    return outcomes


def _states(tables):
    return {row.note_id: row.state for row in tables.view("current_note_status").collect()}


@pytest.mark.slow
@WAYS
def test_a_transient_failure_is_planned_again_at_most_three_times(fresh, source, config, headaches):
    ingest(fresh, source(NOTES))
    headaches[0] = "transient"
    tolerant = config(max_failed_share=1)
    for _ in range(plan.MAX_TRANSIENT - 1):
        extract(fresh, tolerant)
        assert _states(fresh) == {"a": "done", "b": "failed"}
        shown = {row.note_id for row in fresh.view("current_entities").collect()}
        assert "b" not in shown, "a failed note is not ended"
    third = extract(fresh, tolerant)
    assert third["notes"] == 1
    assert _states(fresh) == {"a": "done", "b": "quarantined"}
    assert extract(fresh, tolerant)["notes"] == 0
    tried = fresh.read("extractions").where("outcome = 'transient'").count()
    assert tried == plan.MAX_TRANSIENT
    headaches[0] = "ok"
    assert extract(fresh, tolerant, retry=True)["failed_notes"] == 0
    assert _states(fresh) == {"a": "done", "b": "done"}
    assert fresh.read("extractions").count() == 3 + plan.MAX_TRANSIENT


@pytest.mark.slow
@WAYS
def test_an_unreadable_text_is_quarantined_and_says_how_much_was_not_seen(
    fresh, source, config, headaches
):
    """And is read again only where that is asked for."""
    ingest(fresh, source(NOTES))
    headaches[0] = "unreadable"
    with pytest.raises(DataError, match=r"1 of 2 notes failed") as refused:
        extract(fresh, config())
    assert "eadache" not in str(refused.value)
    fresh.register_views()
    row = fresh.spark.table("quarantine").collect()[0]
    assert (row.note_id, row.state, row.error_class) == ("b", "quarantined", "Broken")
    assert row.chars - row.chars_seen == len("Headache.")
    headaches[0] = "ok"
    assert extract(fresh, config())["notes"] == 0
    assert extract(fresh, config(), retry=True)["notes"] == 1
    assert fresh.spark.table("quarantine").count() == 0
    assert _states(fresh) == {"a": "done", "b": "done"}
    assert extract(fresh, config(), retry=True)["notes"] == 0


def test_the_slots_are_what_the_settings_tell(spark):
    assert infer.slots_of(spark) >= 1
    assert plan.slices_for(0, _Options(None)) == plan.slices_for(2000, _Options(None)) == 1
    assert plan.slices_for(2001, _Options(None)) == 2
    assert plan.slices_for(10, _Options(7)) == 7


class _Options:
    def __init__(self, slices):
        self.slices = slices
        self.extractor = extractor_config(kind="dictionary")
