"""The road from notes to rows, on real Delta: exactly once, resumable, incremental."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark import SparkContext

from notes_source import jsonl_source
from spanlake.core.config import ExtractConfig, ExtractorConfig, TablesConfig
from spanlake.core.errors import ConfigError, DataError, PlanError
from spanlake.core.labels import load_labels
from spanlake.core.merging import DERIVE_VERSION
from spanlake.core.units import Note
from spanlake.models.annotate import annotate, pipeline_fingerprint
from spanlake.models.dictionary import Dictionary
from spanlake.spark import extract as extract_module
from spanlake.spark.claims import HEADER, Plan
from spanlake.spark.derive import derive_slice
from spanlake.spark.extract import extract
from spanlake.spark.ingest import ingest
from spanlake.spark.tables import Tables

NOTES = {
    "a": "No fever or chills. Takes aspirin 81 mg daily.\nLeft knee pain is worse.",
    "b": "Chest x-ray: possible pneumonia.\r\nMother had breast cancer.",
    "c": "No fever or chills. Denies nausea. İ \U0001f600 cafe\u0301: headache.",
    "d": "",
    "e": "Potassium 5.4 mmol/L (ref 3.5-5.1).\fSevere headache since yesterday.",
}
KEYS = ["note_id", "label", "start", "end", "text", "entity_id"]


def _config(tables, **options):
    dictionary = ExtractorConfig(kind="dictionary")
    return ExtractConfig(tables=tables.config, extractor=dictionary, **options)


def rows(frame, *columns):
    return sorted(tuple(row) for row in frame.select(*columns).collect())


@pytest.fixture(scope="module")
def place(spark, tmp_path_factory):
    """Tables of one undisturbed run in two waves, for the tests that only look."""
    folder = tmp_path_factory.mktemp("extract")
    tables = Tables(spark, TablesConfig(location=str(folder / "tables")))
    ingest(tables, jsonl_source(folder, NOTES))
    return tables, extract(tables, _config(tables, slices=2))


@pytest.fixture
def tables(place):
    return place[0]


@pytest.fixture
def facts(place):
    return place[1]


def test_every_note_ends_as_a_row(tables, facts):
    states = dict(rows(tables.read("note_status"), "note_id", "state"))
    assert states == {"a": "done", "b": "done", "c": "done", "d": "empty", "e": "done"}


def test_every_character_is_accounted_for(tables, facts):
    seen = rows(tables.read("note_status"), "note_id", "chars", "chars_seen")
    assert seen == [(i, len(text), len(text)) for i, text in NOTES.items()]


def test_the_job_and_the_library_give_the_same_rows(tables, facts):
    model = Dictionary(load_labels("kiwi"))
    pipeline = pipeline_fingerprint(model.fingerprint, DERIVE_VERSION)
    notes = [Note(i, text) for i, text in NOTES.items()]
    results = annotate(notes, model, pipeline)
    expected = sorted(
        (note.note_id, e.label, e.start, e.end, e.text, e.entity_id)
        for note, result in zip(notes, results, strict=True)
        for e in result.entities
    )
    assert expected
    assert rows(tables.read("entities"), *KEYS) == expected
    relations = sorted(r.relation_id for result in results for r in result.relations)
    assert [row[0] for row in rows(tables.read("relations"), "relation_id")] == relations


def test_each_text_is_read_once_and_the_model_loaded_once_a_worker(tables, facts):
    units = rows(tables.read("extractions"), "unit_sha256")
    assert len(units) == len(set(units)) < facts["units"]
    timings = tables.read("timings").collect()
    assert sum(t.units for t in timings) == len(units) == facts["units_read"]
    assert facts["model_loads"] <= len({t.pid for t in timings})


def test_no_text_is_stored_with_the_answers(tables, facts):
    stored = " ".join(str(row) for row in tables.read("extractions").collect())
    assert "fever" not in stored and "aspirin" not in stored


def test_a_slice_derived_twice_has_the_same_rows(tables):
    before = rows(tables.read("entities"), *KEYS)
    made = Plan(**tables.read("plans").select(*HEADER).collect()[0].asDict())
    derive_slice(tables, made, ExtractorConfig(), 0)
    assert rows(tables.read("entities"), *KEYS) == before


def test_delta_s_log_holds_no_note_text(tables):
    logs = Path(tables.config.location).glob("*/_delta_log/*.json")
    text = " ".join(path.read_text(encoding="utf-8") for path in logs)
    assert "numRecords" in text
    assert not re.search("fever|aspirin|pneumonia|headache|knee", text, re.IGNORECASE)


def test_a_second_run_changes_nothing_and_a_changed_note_is_derived_alone(tables, tmp_path):
    config = _config(tables)
    watched = ("extractions", "entities", "relations", "note_status", "timings", "work", "plans")
    before = {table: tables.version(table) for table in watched}
    assert extract(tables, config)["notes"] == 0
    assert {table: tables.version(table) for table in watched} == before

    first = rows(tables.read("entities"), "note_id", "plan_id")
    changed = {**NOTES, "b": NOTES["b"] + " No cough."}
    del changed["e"]
    counts = ingest(tables, jsonl_source(tmp_path, changed, removed_share=1))
    assert (counts["notes_changed"], counts["notes_removed"], counts["notes_split"]) == (1, 1, 1)
    again = extract(tables, config)
    assert (again["notes"], again["units_read"]) == (1, 1)
    plan = again["plan_id"]
    new = [row for row in rows(tables.read("note_status"), "note_id", "plan_id") if row[1] == plan]
    assert new == [("b", plan)]
    kept = [row for row in rows(tables.read("entities"), "note_id", "plan_id") if row[1] != plan]
    assert kept == first

    tables.register_views()
    current = tables.spark.table("current_entities")
    assert {row.note_id for row in current.collect()} == {"a", "b", "c"}
    assert ("cough",) in rows(current.where("note_id = 'b' AND layer = 'main'"), "text")


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


def test_a_job_killed_between_waves_goes_on_where_it_was(
    fresh, source, config, monkeypatch, extracted_elsewhere
):
    tables = fresh
    ingest(tables, source(NOTES))
    infer = extract_module.infer_wave

    def killed_at_the_second(tables, plan, extractor, wave):
        if wave == 1:
            raise Killed
        infer(tables, plan, extractor, wave)

    monkeypatch.setattr(extract_module, "infer_wave", killed_at_the_second)
    with pytest.raises(Killed):
        extract(tables, config(slices=2))
    done = rows(tables.read("note_status"), "note_id")
    assert 0 < len(done) < len(NOTES), "the first slice has been published, the others have not"
    answered = rows(tables.read("extractions"), "unit_sha256")
    monkeypatch.setattr(extract_module, "infer_wave", infer)
    resumed = extract(tables, config(slices=2))
    units = rows(tables.read("extractions"), "unit_sha256")
    assert len(units) == len(set(units)), "no unit is read twice"
    assert resumed["units_read"] == len(units) - len(answered)
    assert rows(tables.read("entities"), *KEYS) == extracted_elsewhere
    assert tables.read("work").count() == 0


@pytest.fixture
def extracted_elsewhere():
    """The rows that an undisturbed run gives, from the library."""
    model = Dictionary(load_labels("kiwi"))
    pipeline = pipeline_fingerprint(model.fingerprint, DERIVE_VERSION)
    notes = [Note(i, text) for i, text in NOTES.items()]
    return sorted(
        (note.note_id, e.label, e.start, e.end, e.text, e.entity_id)
        for note, result in zip(notes, annotate(notes, model, pipeline), strict=True)
        for e in result.entities
    )


@pytest.mark.slow
def test_the_steps_one_by_one_give_the_same_as_all(fresh, source, config, extracted_elsewhere):
    """And derive before infer is refused, and publishes nothing."""
    tables = fresh
    ingest(tables, source(NOTES))
    extract(tables, config(), "plan")
    with pytest.raises(Exception, match="without an answer"):
        extract(tables, config(), "derive")
    assert tables.read("note_status").count() == 0
    for step in ("infer", "derive"):
        extract(tables, config(), step)
    assert rows(tables.read("entities"), *KEYS) == extracted_elsewhere
    with pytest.raises(PlanError, match="no unfinished plan"):
        extract(tables, config(), "abandon")


def test_a_note_whose_sentences_are_missing_is_not_taken_for_an_empty_one(fresh, source, config):
    tables = fresh
    ingest(tables, source(NOTES))
    tables.spark.sql(f"DELETE FROM {tables.name('sentences')} WHERE note_id = 'a'")
    with pytest.raises(DataError, match="1 notes have text but no sentences"):
        extract(tables, config())


def test_a_where_that_meets_a_note_does_not_quote_it(fresh, source, config, monkeypatch):
    ingest(fresh, source(NOTES))
    levels = []
    monkeypatch.setattr(SparkContext, "setLogLevel", lambda _, level: levels.append(level))
    with pytest.raises(ConfigError, match=r"^where: CAST_INVALID_INPUT: ") as refused:
        extract(fresh, config(where="note_text > 3"))
    assert not any(word in str(refused.value) for word in ("fever", "pneumonia", "headache"))
    assert levels == ["OFF", "ERROR"], "Spark's log would quote the value"


@pytest.mark.slow
def test_a_where_restricts_the_notes(fresh, source, config):
    ingest(fresh, source(NOTES))
    facts = extract(fresh, config(where="note_id IN ('a', 'd')"))
    assert facts["notes"] == 2
    assert {row.note_id for row in fresh.read("note_status").collect()} == {"a", "d"}
