"""An ingest takes all of a source or nothing, writes what has changed, and counts every row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pyspark import SparkContext

from notes_source import jsonl_source
from spanlake.config.extract import IngestConfig
from spanlake.errors import ConfigError, DataError
from spanlake.spark.extract import extract
from spanlake.spark.ingest import compared, facts_of, ingest, length_percentiles
from spanlake.spark.runs import Run
from spanlake.spark.sources import notes_from
from spanlake.spark.tables import Tables

ROOT = Path(__file__).resolve().parents[2]


def texts(tables):
    return {row.note_id: row.note_text for row in tables.read("notes").collect()}


def last_commit(tables):
    row = tables.spark.sql(f"DESCRIBE HISTORY {tables.name('notes')} LIMIT 1").collect()[0]
    return {name: int(n) for name, n in row.operationMetrics.items() if n.lstrip("-").isdigit()}


def files(tables):
    return {row.f for row in tables.read("notes").selectExpr("_metadata.file_path f").collect()}


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
    before = tables.version("notes")
    same = ingest(tables, source({"a": "One. Two.", "b": "Three.", "c": "Four."}))
    assert (same["notes_new"], same["notes_changed"], same["notes_removed"]) == (0, 0, 0)
    assert (same["notes_unchanged"], tables.version("notes")) == (3, before)
    less = source({"a": "One. Two.", "b": "Three!", "d": "Five."}, removed_share=0.4)
    changed = ingest(tables, less)
    counts = {"notes_new": 1, "notes_changed": 1, "notes_unchanged": 1, "notes_removed": 1}
    assert {name: changed[name] for name in counts} == counts
    assert texts(tables) == {"a": "One. Two.", "b": "Three!", "d": "Five."}
    assert tables.version("notes") == before + 1


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


@pytest.mark.slow
def test_notes_without_a_status_are_unprocessed(tables, source, config):
    ingest(tables, source({"a": "No fever.", "b": "Cough."}))
    tables.register_views()
    assert tables.spark.table("unprocessed_notes").count() == 2
    extract(tables, config())
    tables.register_views()
    assert tables.spark.table("unprocessed_notes").count() == 0
    states = tables.spark.sql((ROOT / "sql" / "note_states.sql").read_text(encoding="utf-8"))
    assert {row.state: row.notes for row in states.collect()} == {"done": 2}
    ingest(tables, source({"a": "No fever.", "b": "Cough!", "c": "Rash."}))
    tables.register_views()
    left = tables.spark.table("unprocessed_notes").orderBy("note_id").collect()
    assert [tuple(row) for row in left] == [("b", "b", None, 6), ("c", "c", None, 5)]
    states = tables.spark.sql((ROOT / "sql" / "note_states.sql").read_text(encoding="utf-8"))
    counted = {row.state: (row.notes, row.chars_unseen) for row in states.collect()}
    assert counted == {"done": (1, 0), "unprocessed": (2, 11)}


def test_a_source_that_is_refused_leaves_the_tables_as_they_were(tables, source, tmp_path):
    ingest(tables, source({"a": "One."}))
    before = tables.version("notes")
    rows = "SELECT 'b' AS note_id, X'436166E9' AS note_text"
    tables.spark.sql(rows).write.parquet(str(tmp_path / "wrong"))
    given = source({}).model_dump(by_alias=True)
    given["source"] |= {"format": "parquet", "path": str(tmp_path / "wrong"), "columns": {}}
    with pytest.raises(DataError, match="1 rows have a note_text that is not UTF-8"):
        ingest(tables, IngestConfig.model_validate(given))
    assert tables.version("notes") == before
    assert ingest(tables, source({"a": "One.", "c": "Two."}))["notes_new"] == 1


@pytest.mark.slow
def test_a_patient_id_alone_is_a_change_of_the_note(tables, source):
    rows = [{"note_id": i, "note_text": "Same text.", "patient_id": "p1"} for i in "abc"]
    ingest(tables, source(rows))
    rows[1]["patient_id"] = "p2"
    counts = ingest(tables, source(rows))
    assert (counts["notes_changed"], counts["notes_unchanged"]) == (1, 2)
    stored = {row.note_id: row.patient_id for row in tables.read("notes").collect()}
    assert stored == {"a": "p1", "b": "p2", "c": "p1"}
    rows[1]["patient_id"] = None
    assert ingest(tables, source(rows))["notes_changed"] == 1
    rows[1]["patient_id"] = ""
    assert ingest(tables, source(rows))["notes_changed"] == 1, "null is not the empty text"
    assert ingest(tables, source(rows))["notes_unchanged"] == 3


def test_a_value_that_moves_to_another_column_is_a_change(tables, source):
    def given(column):
        made = source([{"note_id": "a", "note_text": "x", "v": "7"}]).model_dump(by_alias=True)
        made["source"]["columns"] = {column: "v"}
        return IngestConfig.model_validate(made)

    ingest(tables, given("patient_id"))
    assert ingest(tables, given("encounter_id"))["notes_changed"] == 1
    row = tables.read("notes").collect()[0]
    assert (row.patient_id, row.encounter_id) == (None, "7")


@pytest.mark.slow
def test_files_of_unchanged_notes_are_not_written_again(tables, source):
    notes = {f"n{i}": f"Text {i}." for i in range(40)}
    ingest(tables, source(notes))
    before = files(tables)
    counts = ingest(tables, source({**notes, "n7": "Edited.", "new": "New."}))
    assert (counts["notes_changed"], counts["notes_new"], counts["notes_unchanged"]) == (1, 1, 39)
    written = last_commit(tables)
    assert written["numSourceRows"] == 2, "unchanged notes are no part of the MERGE"
    assert (written["numTargetRowsUpdated"], written["numTargetRowsInserted"]) == (1, 1)
    assert (written["numTargetRowsCopied"], written["numTargetFilesRemoved"]) == (0, 0)
    assert before < files(tables)
    del notes["n7"], notes["n8"]
    assert ingest(tables, source({**notes, "new": "New."}))["notes_removed"] == 2
    written = last_commit(tables)
    assert (written["numSourceRows"], written["numTargetRowsDeleted"]) == (2, 2)
    assert written["numTargetRowsCopied"] == 0
    assert texts(tables) == {**notes, "new": "New."}


def test_changes_too_many_to_name_are_the_same_changes(tables, source, monkeypatch):
    ingest(tables, source({**{f"n{i}": "Old." for i in range(20)}, "gone": "x", "gone2": "y"}))
    monkeypatch.setattr("spanlake.spark.ingest.IDS_A_GROUP", 0)
    notes = {f"n{i}": "Old." if i % 2 else "New." for i in range(20)}
    counts = ingest(tables, source(notes))
    expected = {"notes_new": 0, "notes_changed": 10, "notes_unchanged": 10, "notes_removed": 2}
    assert {name: counts[name] for name in expected} == expected
    written = last_commit(tables)
    assert (written["numTargetRowsUpdated"], written["numTargetRowsDeleted"]) == (10, 2)
    assert texts(tables) == notes


def test_the_comparison_shuffles_no_text(tables, source):
    given = source({"a": "One.", "b": "Two."})
    ingest(tables, given)
    frame = compared(notes_from(tables.spark, given.source), tables.read("notes"))
    plan = frame._jdf.queryExecution().optimizedPlan()
    physical = frame._jdf.queryExecution().sparkPlan().toString()
    assert "note_text" in physical, "the hashes are made of texts"
    shuffled = exchanged(frame._jdf.queryExecution().executedPlan())
    assert len(shuffled) >= 2 and not any("note_text" in names for names in shuffled), plan
    assert not any("FileScan" in line and "note_text" in line for line in physical.splitlines())


def exchanged(plan):
    """Return the columns of every shuffle of a physical plan."""
    if plan.getClass().getSimpleName() == "AdaptiveSparkPlanExec":
        plan = plan.executedPlan()
    below = [plan.children().apply(i) for i in range(plan.children().size())]
    mine = (
        [plan.output().toString()] if "ShuffleExchange" in plan.getClass().getSimpleName() else []
    )
    return [*mine, *(names for one in below for names in exchanged(one))]


def between(monkeypatch, action, times=1):
    """Do something after each of the first comparisons, before what follows from it."""
    import spanlake.spark.ingest as module

    compare, left = module._compare, [times]

    def compare_and_act(*arguments):
        found = compare(*arguments)
        if left[0]:
            left[0] -= 1
            action()
        return found

    monkeypatch.setattr(module, "_compare", compare_and_act)


def insert(tables, *ids):
    rows = tables.spark.createDataFrame(
        [(i, "Other.", "0") for i in ids], "note_id string, note_text string, text_sha256 string"
    )
    tables.append("notes", rows)


def test_notes_that_came_after_the_comparison_are_compared_too(tables, source, monkeypatch):
    ingest(tables, source({"a": "One."}))
    between(monkeypatch, lambda: insert(tables, "x", "y"))
    with pytest.raises(DataError, match=r"2 of 3 stored notes .*nothing has been written"):
        ingest(tables, source({"a": "Other text.", "b": "Two."}))
    assert texts(tables) == {"a": "One.", "x": "Other.", "y": "Other."}


@pytest.mark.slow
def test_an_ingest_compares_anew_when_notes_have_changed(tables, source, monkeypatch):
    ingest(tables, source({"a": "One.", "b": "Two."}))
    remove = f"DELETE FROM {tables.name('notes')} WHERE note_id = 'b'"
    between(monkeypatch, lambda: tables.spark.sql(remove))
    counts = ingest(tables, source({"a": "One!", "b": "Two."}))
    assert (counts["notes_new"], counts["notes_changed"], counts["notes_unchanged"]) == (1, 1, 0)
    assert texts(tables) == {"a": "One!", "b": "Two."}


def test_notes_that_never_stand_still_end_in_one_line(tables, source, monkeypatch):
    ids = iter("wxyz")
    between(monkeypatch, lambda: insert(tables, next(ids)), times=9)
    with pytest.raises(DataError, match=r"^another ingest is writing to notes: start it again$"):
        ingest(tables, source({"a": "One."}, removed_share=1))
    assert texts(tables) == {"w": "Other.", "x": "Other."}


@pytest.mark.slow
def test_files_put_together_meanwhile_are_no_other_ingest(tables, source, monkeypatch):
    ingest(tables, source({"a": "One.", "b": "Two."}))
    ingest(tables, source({"a": "One.", "b": "Two.", "c": "Three."}))
    actions = iter([lambda: tables.spark.sql(f"OPTIMIZE {tables.name('notes')}")])
    between(monkeypatch, lambda: next(actions)(), times=9)
    assert ingest(tables, source({"a": "One!", "b": "Two.", "c": "Three."}))["notes_changed"] == 1
    assert texts(tables) == {"a": "One!", "b": "Two.", "c": "Three."}


@pytest.mark.parametrize("first", [{}, {"a": "Old.", "b": "Old."}])
def test_two_ingests_at_once_delete_nothing_unrefused(tables, source, tmp_path, monkeypatch, first):
    if first:
        ingest(tables, source(first))
    mine = [source({**first, "p": "P."}), None]
    (tmp_path / "other").mkdir()
    mine[1] = jsonl_source(tmp_path / "other", {**first, "q": "Q."})
    meet = Barrier(2, timeout=120)
    between(monkeypatch, meet.wait, times=2)

    def one(config):
        try:
            return ingest(Tables(tables.spark, tables.config), config)
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(one, mine))
    refused = [end for end in ended if isinstance(end, str)]
    assert len(refused) == 1 and "stored notes are not in the source" in refused[0]
    won = mine[ended.index(refused[0]) ^ 1]
    assert texts(tables) == {**first, **({"p": "P."} if won is mine[0] else {"q": "Q."})}


@pytest.mark.slow
def test_an_ingest_that_meets_a_conflict_compares_anew(tables, source, monkeypatch):
    ingest(tables, source({"a": "One."}))
    sql, left = tables.spark.sql, ["[DELTA_CONCURRENT_APPEND] ConcurrentAppendException"]

    def conflicting(query, *arguments, **options):
        if query.startswith("MERGE") and left:
            raise RuntimeError(left.pop())
        return sql(query, *arguments, **options)

    monkeypatch.setattr(tables.spark, "sql", conflicting)
    assert ingest(tables, source({"a": "One!"}))["notes_changed"] == 1
    assert texts(tables) == {"a": "One!"} and not left
