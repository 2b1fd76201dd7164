"""Every source becomes the same notes, text untouched; bad input is refused with counts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pyspark import SparkContext

from spanlake.core.config import IngestConfig, load_config
from spanlake.core.errors import ConfigError, DataError
from spanlake.spark import sources
from spanlake.spark.ingest import ingest, length_percentiles
from spanlake.spark.sources import notes_from

ROOT = Path(__file__).resolve().parents[2]
TEXT = 'First line, "quoted",\r\nsecond\tline; caf\u00e9 \U0001f600\n\nlast\u00a0line.'


def config(tmp_path, **source):
    tables = {"location": str(tmp_path / "tables")}
    return IngestConfig.model_validate({"tables": tables, "source": source})


def texts(spark, config):
    return {row.note_id: row.note_text for row in notes_from(spark, config.source).collect()}


def test_csv_as_mimic_writes_it(spark, tmp_path):
    path = tmp_path / "NOTEEVENTS.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(["ROW_ID", "SUBJECT_ID", "ISERROR", "TEXT"])
        writer.writerow([1, 7, "", TEXT])
        writer.writerow([2, 8, "1", "An error."])
        writer.writerow([3, 9, "", " leading and trailing "])
    columns = {"note_id": "ROW_ID", "note_text": "TEXT", "patient_id": "SUBJECT_ID"}
    made = config(
        tmp_path, format="csv", path=str(path), columns=columns, where="coalesce(ISERROR, '') = ''"
    )
    assert texts(spark, made) == {"1": TEXT, "3": " leading and trailing "}


def test_a_plain_csv_file_needs_no_column_map(spark, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text('note_id,note_text\n1,No fever.\n2,"Said ""ok"",\nleft."\n', encoding="utf-8")
    plain = load_config(IngestConfig, ROOT / "conf" / "ingest_csv.yml", [f"source.path={path}"])
    assert texts(spark, plain) == {"1": "No fever.", "2": 'Said "ok",\nleft.'}


def test_csv_with_a_broken_record_is_refused(spark, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text('note_id,note_text\n1,"fine"\n2,"too","many","fields"\n', encoding="utf-8")
    with pytest.raises(DataError, match="1 records of the csv source cannot be parsed"):
        notes_from(spark, config(tmp_path, format="csv", path=str(path)).source)


def test_json_lines(spark, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps({"note_id": 1, "text": TEXT}) + "\n", encoding="utf-8")
    made = config(tmp_path, format="jsonl", path=str(path), columns={"note_text": "text"})
    assert texts(spark, made) == {"1": TEXT}


def test_json_lines_with_a_broken_line_are_refused(spark, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"note_id": 1, "note_text": "x"}\n{"note_id": 2, "no\n', encoding="utf-8")
    with pytest.raises(DataError, match="1 records of the jsonl source"):
        notes_from(spark, config(tmp_path, format="jsonl", path=str(path)).source)


def test_a_folder_of_text_files_with_an_empty_one(spark, tmp_path):
    folder = tmp_path / "my notes"
    folder.mkdir()
    (folder / "a b.txt").write_bytes(TEXT.encode())
    (folder / "empty.txt").write_bytes(b"")
    (folder / "upper.TXT").write_bytes(b"fine")
    (folder / "none.TXT").write_bytes(b"")
    (folder / "other.md").write_bytes(b"not a note")
    made = config(tmp_path, format="text", path=str(folder))
    assert texts(spark, made) == {"a b": TEXT, "empty": "", "upper": "fine", "none": ""}


def test_a_text_file_of_another_encoding_is_named(spark, tmp_path):
    (tmp_path / "good.txt").write_bytes(b"fine")
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("cp1252"))
    wrong = config(tmp_path, format="text", path=str(tmp_path))
    with pytest.raises(DataError, match=r"1 files are not UTF-8: latin\..*source\.encoding"):
        notes_from(spark, wrong.source)
    right = config(tmp_path, format="text", path=str(tmp_path), encoding="latin-1")
    assert texts(spark, right)["latin"] == "caf\u00e9"


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_parquet_and_delta(spark, tmp_path, kind):
    frame = spark.createDataFrame([("1", TEXT)], "id string, body string")
    frame.write.format(kind).save(str(tmp_path / "source"))
    columns = {"note_id": "id", "note_text": "body"}
    made = config(tmp_path, format=kind, path=str(tmp_path / "source"), columns=columns)
    assert texts(spark, made) == {"1": TEXT}


def test_omop_notes_need_no_column_map(spark, tmp_path):
    columns = "note_id long, person_id long, note_datetime timestamp, note_title string,"
    columns += "note_text string, visit_occurrence_id long"
    row = spark.sql("SELECT 5, 7, timestamp'2025-03-14 08:00:00', 'ED note', 'x', 9")
    row.toDF(*[c.split()[0] for c in columns.split(",")]).createOrReplaceTempView("omop_note")
    found = notes_from(spark, config(tmp_path, format="omop", table="omop_note").source).collect()
    assert [tuple(r) for r in found] == [("5", "x", "7", "9", "ED note", "2025-03-14 08:00:00")]


def test_a_missing_column_says_which_there_are(spark, tmp_path, source):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"id": 1, "body": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="no column note_id, note_text; it has body, id"):
        notes_from(spark, config(tmp_path, format="jsonl", path=str(path)).source)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "text", "parquet", "delta"])
def test_a_path_that_does_not_exist_is_named_with_the_fix(spark, tmp_path, kind):
    wrong = config(tmp_path, format=kind, path=str(tmp_path / "nope"))
    with pytest.raises(ConfigError, match=rf"^source .*nope: .*: check its name.* {kind}$"):
        notes_from(spark, wrong.source)


@pytest.mark.parametrize("where", ["FOO IS NULL", "note_id IS NUL (("])
def test_a_where_that_does_not_fit_the_source_is_one_line(spark, tmp_path, where):
    path = tmp_path / "notes.csv"
    path.write_text("note_id,note_text\n1,No fever.\n", encoding="utf-8")
    wrong = config(tmp_path, format="csv", path=str(path), where=where)
    with pytest.raises(ConfigError, match=r"^source\.where: .*: it is SQL on the source's own"):
        notes_from(spark, wrong.source)


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
    with pytest.raises(DataError) as refused:
        ingest(tables, source(rows))
    message = str(refused.value)
    for part in (
        "5 notes read, none written",
        "1 rows have no note_id",
        "1 notes have a null text",
        "1 rows repeat a note_id (first: 1)",
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


def test_csv_in_windows_1252_is_read_and_an_empty_field_is_no_null(spark, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_bytes('id,body\n1,"caf\u00e9 \u2013 well"\n2,""\n3,\n'.encode("cp1252"))
    rows = sources._read_csv(spark, str(path), "cp1252").select("id", "body").collect()
    assert [tuple(row) for row in rows] == [("1", "caf\u00e9 \u2013 well"), ("2", ""), ("3", None)]
