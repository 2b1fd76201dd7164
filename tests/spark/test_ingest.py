"""An ingest takes all of a source or nothing, writes what has changed, and counts every row."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark import SparkContext

from spanlake.core.config import IngestConfig
from spanlake.core.errors import ConfigError, DataError
from spanlake.spark.extract import extract
from spanlake.spark.ingest import facts_of, ingest, length_percentiles
from spanlake.spark.queries import run_query
from spanlake.spark.runs import Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("note_text > 3", "CAST_INVALID_INPUT"),
        ("parse_json(note_text) IS NOT NULL", r"\w+Exception"),  # pyspark has no name for it
    ],
)
def test_a_where_that_meets_a_note_does_not_quote_it(tables, source, where, told, monkeypatch):
    levels = []
    monkeypatch.setattr(SparkContext, "setLogLevel", lambda _, level: levels.append(level))
    given = source({"a": "No fever."}).model_dump(by_alias=True)
    given["source"]["where"] = where
    with pytest.raises(ConfigError, match=rf"^source\.where: {told}: ") as refused:
        ingest(tables, IngestConfig.model_validate(given))
    assert "fever" not in str(refused.value)
    assert levels == ["OFF", "ERROR"], "Spark's log would quote the value"


def test_bad_notes_are_refused_with_counts_and_nothing_is_written(tables, source):
    rows = [
        {"note_id": "1", "note_text": "x", "patient_id": "p"},
        {"note_id": "1", "note_text": "y", "patient_id": "p"},
        {"note_id": "2", "note_text": None, "patient_id": "p"},
        {"note_id": None, "note_text": "z", "patient_id": "p"},
        {"note_id": "3", "note_text": "caf\ufffd", "patient_id": "p"},
    ]
    rows += [{"note_id": "No cough. " * 9, "note_text": "x", "patient_id": "p"}] * 2
    with pytest.raises(DataError) as refused:
        ingest(tables, source(rows))
    message = str(refused.value)
    for part in (
        "7 notes read, none written",
        "1 rows have no note_id",
        "1 notes have a null text",
        "2 rows repeat a note_id (first: 1, an id of 90 characters)",
        "1 notes hold U+FFFD",
    ):
        assert part in message
    assert not tables.exists("notes")


def test_an_empty_source_is_refused(tables, source):
    with pytest.raises((DataError, ConfigError)):
        ingest(tables, source([]))


def test_again_with_changes_writes_only_those(tables, source):
    ingest(tables, source({"a": "One. Two.", "b": "Three.", "c": "Four."}))
    before = tables.version("notes"), tables.version("sentences")
    same = ingest(tables, source({"a": "One. Two.", "b": "Three.", "c": "Four."}))
    assert (same["notes_new"], same["notes_changed"], same["notes_removed"]) == (0, 0, 0)
    assert (tables.version("notes"), tables.version("sentences")) == before
    less = source({"a": "One. Two.", "b": "Three!", "d": "Five."}, removed_share=0.4)
    changed = ingest(tables, less)
    counts = {"notes_new": 1, "notes_changed": 1, "notes_unchanged": 1, "notes_removed": 1}
    counts["notes_split"] = 2
    assert {name: changed[name] for name in counts} == counts
    sentences = {(row.note_id, row.text) for row in tables.read("sentences").collect()}
    assert sentences == {("a", "One."), ("a", "Two."), ("b", "Three!"), ("d", "Five.")}


def test_another_source_does_not_remove_the_notes_of_the_first(tables, source):
    ingest(tables, source({"a": "One.", "b": "Two.", "c": "Three."}))
    before = tables.version("notes")
    with pytest.raises(DataError, match=r"2 of 3 stored notes .*removed_share=1 .*=keep"):
        ingest(tables, source({"a": "One.", "x": "Another."}))
    assert tables.version("notes") == before


def test_an_increment_keeps_what_it_does_not_hold(tables, source):
    ingest(tables, source({"a": "One.", "b": "Two."}))
    counts = ingest(tables, source({"c": "Three."}, removed_notes="keep"))
    assert counts["notes_removed"] == 0
    assert {row.note_id for row in tables.read("notes").collect()} == {"a", "b", "c"}


def test_length_percentiles_are_in_characters(tables, source):
    ingest(tables, source({str(i): "\U0001f600" * i for i in range(1, 102)}))
    found = dict(length_percentiles(tables))
    assert (found["p50"], found["max"]) == (51, 101)


def test_every_row_is_accounted_for_in_runs_too(tables, source):
    ingest(tables, source({"a": "One.", "b": "Two.", "gone": "Old.", "left": "Out."}))
    rows = {"a": "One.", "b": "Three!", "c": "", "d": " \ufeff\n", "x": "X."}
    config = source(rows, removed_share=1).model_dump(by_alias=True)
    config["source"]["where"] = "note_id <> 'x'"
    config = IngestConfig.model_validate(config)
    with Run(tables, "ingest", config) as run:
        counts = ingest(tables, config)
        run.facts |= facts_of(counts)
    expected = {
        "rows_read": 5, "rows_left_out": 1, "rows_refused": 0, "notes_new": 2, "notes_changed": 1,
        "notes_unchanged": 1, "notes_removed": 2, "notes_blank": 2,
    }  # fmt: skip
    assert {name: counts[name] for name in expected} == expected
    stored = tables.read("runs").where(f"run_id = '{run.run_id}'").collect()[0].asDict()
    assert {name: stored[name] for name in expected} == expected
    assert stored["notes"] == stored["rows_read"] - stored["rows_left_out"]
    assert stored["notes"] == sum(stored[f"notes_{c}"] for c in ("new", "changed", "unchanged"))


def test_notes_without_a_status_are_unprocessed(tables, source, config):
    ingest(tables, source({"a": "No fever.", "b": "Cough."}))
    tables.register_views()
    assert tables.spark.table("unprocessed_notes").count() == 2
    extract(tables, config())
    tables.register_views()
    assert tables.spark.table("unprocessed_notes").count() == 0
    states = run_query(tables, ROOT / "sql" / "note_states.sql")
    assert {row.state: row.notes for row in states.collect()} == {"done": 2}
    ingest(tables, source({"a": "No fever.", "b": "Cough!", "c": "Rash."}))
    tables.register_views()
    left = tables.spark.table("unprocessed_notes").orderBy("note_id").collect()
    assert [tuple(row) for row in left] == [("b", "b", None, 6), ("c", "c", None, 5)]
    states = run_query(tables, ROOT / "sql" / "note_states.sql")
    counted = {row.state: (row.notes, row.chars_unseen) for row in states.collect()}
    assert counted == {"done": (1, 0), "unprocessed": (2, 11)}


def test_a_source_that_is_refused_leaves_the_tables_as_they_were(tables, source, tmp_path):
    ingest(tables, source({"a": "One."}))
    before = tables.version("notes"), tables.version("sentences")
    rows = "SELECT 'b' AS note_id, X'436166E9' AS note_text"
    tables.spark.sql(rows).write.parquet(str(tmp_path / "wrong"))
    given = source({}).model_dump(by_alias=True)
    given["source"] |= {"format": "parquet", "path": str(tmp_path / "wrong"), "columns": {}}
    with pytest.raises(DataError, match="1 rows have a note_text that is not UTF-8"):
        ingest(tables, IngestConfig.model_validate(given))
    assert (tables.version("notes"), tables.version("sentences")) == before
    assert ingest(tables, source({"a": "One.", "c": "Two."}))["notes_new"] == 1
