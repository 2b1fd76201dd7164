"""The road from notes to rows, on real Delta: exactly once and incremental (kills: test_kills)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pyspark import SparkContext

from notes_source import jsonl_source
from spanlake.config.extract import ExtractConfig, TablesConfig
from spanlake.config.extractors import extractor_config
from spanlake.core.assemble import DERIVE_VERSION
from spanlake.core.labels import load_labels
from spanlake.core.types import Note
from spanlake.errors import ConfigError, PlanError
from spanlake.models.dictionary import Dictionary
from spanlake.predict import annotate, pipeline_fingerprint
from spanlake.spark.derive import derive_run
from spanlake.spark.extract import extract, summary
from spanlake.spark.ingest import ingest
from spanlake.spark.plan import last_plan
from spanlake.spark.tables import Tables
from spanlake.text.sentences import split

NOTES = {
    "a": "No fever or chills. Takes aspirin 81 mg daily.\nLeft knee pain is worse.",
    "b": "Chest x-ray: possible pneumonia.\r\nMother had breast cancer.",
    "c": "No fever or chills. Denies nausea. İ \U0001f600 cafe\u0301: headache.",
    "d": "",
    "e": "Potassium 5.4 mmol/L (ref 3.5-5.1).\fSevere headache since yesterday.",
}
KEYS = ["note_id", "label", "start", "end", "text", "entity_id"]
WAYS = pytest.mark.parametrize("way", ["driver", pytest.param("spark", marks=pytest.mark.slow)])
OPTIONS = {"driver": {}, "spark": {"driver_notes": 0, "slices": 2}}


def _config(tables, **options):
    dictionary = extractor_config(kind="dictionary")
    return ExtractConfig(tables=tables.config, extractor=dictionary, **options)


def rows(frame, *columns):
    return sorted(tuple(row) for row in frame.select(*columns).collect())


@pytest.fixture(scope="module", params=["driver", pytest.param("spark", marks=pytest.mark.slow)])
def place(request, spark, tmp_path_factory):
    """Tables of one undisturbed run, by the driver or in waves, for the tests that only look."""
    folder = tmp_path_factory.mktemp("extract")
    tables = Tables(spark, TablesConfig(location=str(folder / "tables")))
    ingest(tables, jsonl_source(folder, NOTES))
    return tables, extract(tables, _config(tables, **OPTIONS[request.param]))


@pytest.fixture
def tables(place):
    return place[0]


@pytest.fixture
def facts(place):
    return place[1]


def _expected():
    """The library's results, by note."""
    model = Dictionary(load_labels("kiwi"))
    notes = [Note(i, text) for i, text in NOTES.items()]
    pipeline = pipeline_fingerprint(model.fingerprint, DERIVE_VERSION)
    return dict(zip(NOTES, annotate(notes, model, pipeline), strict=True))


@pytest.fixture
def expected_entities():
    found = _expected().items()
    return sorted(
        (i, e.label, e.start, e.end, e.text, e.entity_id) for i, r in found for e in r.entities
    )


def test_every_note_ends_as_a_row(tables, facts):
    states = dict(rows(tables.read("note_status"), "note_id", "state"))
    assert states == {"a": "done", "b": "done", "c": "done", "d": "empty", "e": "done"}
    counts = rows(tables.read("note_status"), "note_id", "entities", "relations")
    expected = _expected().items()
    assert counts == sorted((i, len(r.entities), len(r.relations)) for i, r in expected)


def test_every_character_is_accounted_for(tables, facts):
    seen = rows(tables.read("note_status"), "note_id", "chars", "chars_seen")
    assert seen == [(i, len(text), len(text)) for i, text in NOTES.items()]


def test_the_job_and_the_library_give_the_same_rows(tables, facts, expected_entities):
    assert expected_entities
    assert rows(tables.read("entities"), *KEYS) == expected_entities
    relations = sorted(r.relation_id for result in _expected().values() for r in result.relations)
    assert [row[0] for row in rows(tables.read("relations"), "relation_id")] == relations


def test_the_view_sentences_is_what_the_splitter_makes_of_the_notes(tables, facts):
    found = rows(tables.view("sentences"), "note_id", "sentence_index", "start", "end", "text")
    assert found == [
        (note_id, i, s.span.start, s.span.end, text[s.span.start : s.span.end])
        for note_id, text in NOTES.items()
        for i, s in enumerate(split(text))
    ]


def test_each_text_is_read_once_and_the_model_loaded_once_a_worker(tables, facts):
    units = rows(tables.read("extractions"), "unit_key")
    assert len(units) == len(set(units)) < facts["units"]
    timings = tables.view("timings").collect()
    assert sum(t.units for t in timings) == len(units) == facts["units_read"]
    assert facts["model_loads"] <= len({t.pid for t in timings})


def test_no_text_is_stored_with_the_answers_or_the_plan(tables, facts):
    stored = " ".join(
        str(row)
        for table in ("extractions", "plan_units", "plan_events", "runs")
        for row in tables.read(table).collect()
    )
    assert "fever" not in stored and "aspirin" not in stored


def test_a_run_of_slices_derived_twice_has_the_same_rows(tables, facts):
    before = [rows(tables.read(table), "note_id") for table in ("relations", "note_status")]
    entities = rows(tables.read("entities"), *KEYS)
    made, is_open = last_plan(
        tables, rows(tables.read("note_status"), "pipeline_fingerprint")[0][0]
    )
    assert not is_open
    derive_run(tables, made, "kiwi", 0, (0, 0))
    assert rows(tables.read("entities"), *KEYS) == entities
    assert before == [rows(tables.read(table), "note_id") for table in ("relations", "note_status")]


def test_delta_s_log_holds_no_note_text(tables, facts):
    logs = Path(tables.config.location).glob("*/_delta_log/*.json")
    text = " ".join(path.read_text(encoding="utf-8") for path in logs)
    assert "numRecords" in text
    assert not re.search("fever|aspirin|pneumonia|headache|knee", text, re.IGNORECASE)


@pytest.mark.slow
def test_a_second_run_changes_nothing_and_a_changed_note_is_derived_alone(tables, facts, tmp_path):
    config = _config(tables, driver_notes=0 if facts["waves"] else 2000)
    stored = [path.parent.name for path in Path(tables.config.location).glob("*/_delta_log")]
    before = {table: tables.version(table) for table in stored}
    idle = extract(tables, config)
    assert idle["notes"] == 0 and idle["published"]
    assert ("notes", 0) in summary(tables, idle)
    assert {table: tables.version(table) for table in stored} == before

    first = rows(tables.read("entities"), "note_id", "plan_id")
    changed = {**NOTES, "b": NOTES["b"] + " No cough."}
    del changed["e"]
    counts = ingest(tables, jsonl_source(tmp_path, changed, removed_share=1))
    assert (counts["notes_changed"], counts["notes_removed"]) == (1, 1)
    again = extract(tables, config)
    assert (again["notes"], again["units"], again["units_read"]) == (1, 3, 1)
    plan = again["plan_id"]
    assert rows(tables.read("plan_units").where(f"plan_id = '{plan}'"), "note_id") == [("b",)] * 3
    new = [row for row in rows(tables.read("note_status"), "note_id", "plan_id") if row[1] == plan]
    assert new == [("b", plan)]
    kept = [row for row in rows(tables.read("entities"), "note_id", "plan_id") if row[1] != plan]
    assert kept == first

    tables.register_views()
    current = tables.spark.table("current_entities")
    assert {row.note_id for row in current.collect()} == {"a", "b", "c"}
    assert ("cough",) in rows(current.where("note_id = 'b' AND layer = 'main'"), "text")
    statuses = tables.spark.table("current_note_status")
    assert rows(statuses, "note_id", "state") == [
        ("a", "done"), ("b", "done"), ("c", "done"), ("d", "empty")
    ]  # fmt: skip
    assert tables.spark.table("sentences").where("note_id = 'b'").count() == 3
    assert tables.spark.table("unprocessed_notes").count() == 0


@pytest.mark.slow
def test_the_steps_one_by_one_give_the_same_as_all(fresh, source, config, expected_entities):
    """And derive before infer is refused, and publishes nothing."""
    tables = fresh
    ingest(tables, source(NOTES))
    extract(tables, config(), "plan")
    with pytest.raises(Exception, match="without an answer"):
        extract(tables, config(), "derive")
    assert tables.read("note_status").count() == 0
    for step in ("infer", "derive"):
        extract(tables, config(), step)
    assert rows(tables.read("entities"), *KEYS) == expected_entities
    assert tables.read("work").count() == tables.read("derived").count() == 0
    with pytest.raises(PlanError, match="no unfinished plan"):
        extract(tables, config(), "abandon")


def test_a_where_that_meets_a_note_does_not_quote_it(fresh, source, config, monkeypatch):
    ingest(fresh, source(NOTES))
    levels = []
    monkeypatch.setattr(SparkContext, "setLogLevel", lambda _, level: levels.append(level))
    with pytest.raises(ConfigError, match=r"^where: CAST_INVALID_INPUT: ") as refused:
        extract(fresh, config(where="note_text > 3"))
    assert not any(word in str(refused.value) for word in ("fever", "pneumonia", "headache"))
    assert levels == ["OFF", "ERROR"], "Spark's log would quote the value"


@pytest.mark.slow
@WAYS
def test_a_where_restricts_the_notes(fresh, source, config):
    ingest(fresh, source(NOTES))
    none = extract(fresh, config(where="note_id = 'nobody'"))
    assert none["notes"] == 0
    assert ("slowest partition", "none: nothing was read") in summary(fresh, none)
    facts = extract(fresh, config(where="note_id IN ('a', 'd')"))
    assert facts["notes"] == 2
    assert {row.note_id for row in fresh.read("note_status").collect()} == {"a", "d"}
