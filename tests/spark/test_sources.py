"""Every source becomes the same notes, text untouched; bad input is refused with counts."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from spanlake.config.base import load_config
from spanlake.config.extract import IngestConfig
from spanlake.core.types import NOTE_COLUMNS
from spanlake.errors import ConfigError, DataError
from spanlake.spark import files
from spanlake.spark.ingest import ingest
from spanlake.spark.sources import TAKEN, refuse_faults
from spanlake.spark.sources import notes_from as rows_of
from spanlake.spark.tables import Tables

ROOT = Path(__file__).resolve().parents[2]
TEXT = 'First line, "quoted",\r\nsecond\tline; caf\u00e9 \U0001f600\n\nlast\u00a0line.'


def config(tmp_path, **source):
    tables = {"location": str(tmp_path / "tables")}
    return IngestConfig.model_validate({"tables": tables, "source": source})


def notes_from(spark, source):
    rows = rows_of(spark, source)
    refuse_faults(rows)
    return rows


def taken(spark, config):
    return notes_from(spark, config.source).where(TAKEN).select(*NOTE_COLUMNS).collect()


def texts(spark, config):
    return {row.note_id: row.note_text for row in taken(spark, config)}


def ids(spark, config):
    return {row.note_id: row.patient_id for row in taken(spark, config)}


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
    with pytest.raises(DataError, match=r"1 files .*notes\.csv: record 2 \(line 3\): 4 fields"):
        notes_from(spark, config(tmp_path, format="csv", path=str(path)).source)


def test_json_lines(spark, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps({"note_id": 1, "text": TEXT}) + "\n", encoding="utf-8")
    made = config(tmp_path, format="jsonl", path=str(path), columns={"note_text": "text"})
    assert texts(spark, made) == {"1": TEXT}


def test_json_lines_with_a_broken_line_are_refused(spark, tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"note_id": 1, "note_text": "x"}\n{"note_id": 2, "no\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"1 files cannot be read: notes\.jsonl: line 2: not JSON"):
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
    with pytest.raises(DataError, match=r"1 files are not UTF-8 .*source\.encoding.*: latin;"):
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
    found = taken(spark, config(tmp_path, format="omop", table="omop_note"))
    assert [tuple(r) for r in found] == [("5", "x", "7", "9", "ED note", "2025-03-14 08:00:00")]


def test_a_missing_column_says_which_there_are(spark, tmp_path, source):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"id": 1, "body": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="no column note_id, note_text; it has id, body"):
        notes_from(spark, config(tmp_path, format="jsonl", path=str(path)).source)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "text", "parquet", "delta"])
def test_a_path_that_does_not_exist_is_named_with_the_fix(spark, tmp_path, kind):
    wrong = config(tmp_path, format=kind, path=str(tmp_path / "nope"))
    with pytest.raises(ConfigError, match=r"^source .*nope: .*: check its name"):
        notes_from(spark, wrong.source)


@pytest.mark.parametrize("where", ["FOO IS NULL", "note_id IS NUL (("])
def test_a_where_that_does_not_fit_the_source_is_one_line(spark, tmp_path, where):
    path = tmp_path / "notes.csv"
    path.write_text("note_id,note_text\n1,No fever.\n", encoding="utf-8")
    wrong = config(tmp_path, format="csv", path=str(path), where=where)
    with pytest.raises(ConfigError, match=r"^source\.where: .*: it is SQL on the source's own"):
        notes_from(spark, wrong.source)


def test_csv_in_windows_1252_is_read_and_an_empty_field_is_no_null(spark, tmp_path):
    path = tmp_path / "notes.csv"
    path.write_bytes(b'note_id,note_text,p\n1,"caf\xe9 \x96 well",""\n2,"",\n')
    made = config(
        tmp_path, format="csv", path=str(path), encoding="cp1252", columns={"patient_id": "p"}
    )
    found = {row.note_id: (row.note_text, row.patient_id) for row in taken(spark, made)}
    assert found == {"1": ("caf\u00e9 \u2013 well", ""), "2": ("", None)}


@pytest.fixture
def csv_folder(tmp_path):
    folder = tmp_path / "csv"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.csv").write_text("note_id,patient_id,note_text\n1,P1,No fever.\n", "utf-8")
    (folder / "sub" / "_b.CSV").write_bytes(b"note_text,x,note_id,patient_id\r\nRash.,,2,P2\r\n")
    (folder / "_SUCCESS").touch()
    return folder


def test_the_files_of_a_csv_folder_are_read_by_their_own_headers(spark, tmp_path, csv_folder):
    packed = gzip.compress(b"patient_id,note_id,note_text\nP3,3,Cough.\n")
    (csv_folder / "c.csv.gz").write_bytes(packed)
    columns = {"patient_id": "patient_id"}
    made = config(tmp_path, format="csv", path=str(csv_folder), columns=columns)
    assert texts(spark, made) == {"1": "No fever.", "2": "Rash.", "3": "Cough."}
    assert ids(spark, made) == {"1": "P1", "2": "P2", "3": "P3"}


def test_a_column_that_one_file_lacks_is_told_with_the_file(spark, tmp_path, csv_folder):
    (csv_folder / "c.csv").write_text("note_id,note_text\n3,Cough.\n", "utf-8")
    made = config(tmp_path, format="csv", path=str(csv_folder))
    assert sorted(texts(spark, made)) == ["1", "2", "3"]
    mapped = config(
        tmp_path, format="csv", path=str(csv_folder), columns={"patient_id": "patient_id"}
    )
    with pytest.raises(ConfigError, match=r"patient_id in every file: c\.csv lacks patient_id"):
        notes_from(spark, mapped.source)
    where = config(tmp_path, format="csv", path=str(csv_folder), where="patient_id <> 'P1'")
    with pytest.raises(ConfigError, match=r"not every file has .*: patient_id is not in c\.csv"):
        notes_from(spark, where.source)


def test_broken_files_of_a_folder_are_all_named(spark, tmp_path, csv_folder):
    (csv_folder / "open.csv").write_text('note_id,note_text\n3,"Cough.\n4,Rash.\n', "utf-8")
    whole = gzip.compress(b"note_id,note_text\n" + b"".join(b"%d,x\n" % i**5 for i in range(9999)))
    (csv_folder / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as refused:
        notes_from(spark, config(tmp_path, format="csv", path=str(csv_folder)).source)
    told = str(refused.value)
    assert "2 files cannot be read" in told and "nothing has been written" in told
    assert "open.csv: record 1 (line 2): a quoted field is never closed" in told
    assert "cut.csv.gz: record" in told and "cut off" in told
    assert "Cough" not in told and "\n" not in told


@pytest.mark.parametrize(("given", "mark"), [(";", ";"), ("tab", "\t"), ("\\t", "\t"), ("|", "|")])
def test_other_delimiters_are_read_and_named(spark, tmp_path, given, mark):
    path = tmp_path / "notes.csv"
    path.write_text(f"note_id{mark}note_text\n1{mark}No fever, no cough.\n", encoding="utf-8")
    wrong = config(tmp_path, format="csv", path=str(path)).source
    with pytest.raises(ConfigError, match=r"one column only: is the delimiter .*source\.delimiter"):
        notes_from(spark, wrong)
    made = config(tmp_path, format="csv", path=str(path), delimiter=given)
    assert texts(spark, made) == {"1": "No fever, no cough."}


def test_every_txt_file_is_a_note_whatever_its_name(spark, tmp_path, caplog):
    folder = tmp_path / "notes"
    (folder / "_sub" / ".deep").mkdir(parents=True)
    names = ["plain.txt", "_under.txt", ".dot.txt", "_sub/low.TXT", "_sub/.deep/a.b.txt"]
    for name in names:
        (folder / name).write_bytes(b"\xef\xbb\xbfNo fever.\r\n")
    for name in ("x.md", "_sub/y.md", "no_suffix"):
        (folder / name).touch()
    made = config(tmp_path, format="text", path=str(folder))
    with caplog.at_level("WARNING"):
        found = texts(spark, made)
    assert found == dict.fromkeys(["plain", "_under", ".dot", "low", "a.b"], "\ufeffNo fever.\r\n")
    assert "2 .md files, 1 no suffix files" in caplog.text
    for name in names:
        (folder / name).unlink()
    with pytest.raises(DataError, match=r"no file there is read, only 2 \.md files"):
        notes_from(spark, made.source)


def test_files_that_spark_must_hand_over_are_read_alike(spark, tmp_path, csv_folder, monkeypatch):
    monkeypatch.setattr(files, "_is_mounted", lambda *_: False)
    (csv_folder / "empty.txt").touch()
    (csv_folder / "full.txt").write_bytes(b"No fever.\r\n")
    made = config(tmp_path, format="text", path=str(csv_folder))
    assert texts(spark, made) == {"empty": "", "full": "No fever.\r\n"}
    one = config(tmp_path, format="csv", path=str(csv_folder / "a.csv"))
    assert texts(spark, one) == {"1": "No fever."}
    (csv_folder / "sub" / "_deep").mkdir()
    for name in ("_hidden.txt", "sub/_hidden.txt", "sub/_deep/x.txt", "_other.md"):
        (csv_folder / name).touch()
    names = r"_hidden\.txt, sub/_deep/x\.txt, sub/_hidden\.txt"
    with pytest.raises(DataError, match=rf"does not read the 3 files .*\({names}\)"):
        notes_from(spark, made.source)
    monkeypatch.setattr(files, "MOST_BYTES", 10)
    with pytest.raises(DataError, match="larger than the 2 GB that a row of Spark holds"):
        notes_from(spark, one.source)


def test_small_files_share_a_task_and_a_large_one_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FILES_A_TASK", 3)
    monkeypatch.setattr(files, "BYTES_A_TASK", 10)
    paths = [tmp_path / f"{i}.csv" for i in range(7)]
    for path, size in zip(paths, (1, 1, 1, 1, 99, 5, 5), strict=True):
        path.write_bytes(b"x" * size)
    names = [str(path) for path in paths]
    tasks = files._tasks([*names, str(tmp_path / "gone.csv")])
    assert tasks == [names[:3], names[3:4], names[4:5], [*names[5:], str(tmp_path / "gone.csv")]]
    assert files._tasks([]) == [[]]


def test_json_lines_keep_what_they_hold(spark, tmp_path):
    (tmp_path / "json").mkdir()
    rows = [
        {"note_id": 20000019.0, "note_text": TEXT, "who": {"name": "x"}},
        {"note_id": 7, "note_text": "", "flag": True},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "json" / "a.jsonl").write_text(lines, encoding="utf-8-sig")
    (tmp_path / "json" / "b.jsonl").write_text('{"note_text": "z", "note_id": "8"}\n', "utf-8")
    columns = {"patient_id": {"sql": "coalesce(get_json_object(who, '$.name'), flag)"}}
    found = config(
        tmp_path,
        format="jsonl",
        path=str(tmp_path / "json"),
        columns=columns,
        encoding="utf-8-sig",
    )
    assert texts(spark, found) == {"20000019": TEXT, "7": "", "8": "z"}
    assert ids(spark, found) == {"20000019": "x", "7": "true", "8": None}


NOTEEVENTS = """\
"ROW_ID","SUBJECT_ID","HADM_ID","CHARTDATE","CHARTTIME","STORETIME","CATEGORY","DESCRIPTION",\
"CGID","ISERROR","TEXT"
1,22,16785,"2151-08-04",,,"Discharge summary","Report",,,"Invented.

Said ""fine"".
"
2,22,,"2151-08-05","2151-08-05 10:00:00","2151-08-05 10:01:00","Nursing","Report",9,,"Invented."
3,22,,"2151-08-05","2151-08-05 11:00:00",,"Nursing","Report",9,1,"An error."
"""


def test_a_note_of_mimic_without_a_time_has_its_date(spark, tmp_path):
    path = tmp_path / "NOTEEVENTS.csv"
    path.write_text(NOTEEVENTS.replace("\\\n", ""), encoding="utf-8")
    made = load_config(IngestConfig, ROOT / "conf" / "ingest_mimic.yml", [f"source.path={path}"])
    rows = {row.note_id: row for row in taken(spark, made)}
    assert {key: row.note_datetime for key, row in rows.items()} == {
        "1": "2151-08-04",
        "2": "2151-08-05 10:00:00",
    }
    assert rows["1"].note_text == 'Invented.\n\nSaid "fine".\n'
    assert (rows["1"].encounter_id, rows["2"].encounter_id) == ("16785", None)


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (
            "coalesce(NO_SUCH, note_id)",
            r"^source\.columns\.note_type: .*`NO_SUCH` cannot be resolved",
        ),
        ("note_id ,, 1", r"^source\.columns\.note_type: .*SYNTAX"),
        ("max(note_id)", r"^source\.columns: .*one value a row$"),
        ("array(note_id)", r"^source\.columns\.note_type: the source's column is array"),
        ("cast(note_text AS int)", r"^source\.columns\.note_type: CAST_INVALID_INPUT: "),
        ("raise_error(note_text)", r"^source\.columns\.note_type: USER_RAISED_EXCEPTION: "),
        ("1 / 0", r"^source\.columns\.note_type: DIVIDE_BY_ZERO: "),
    ],
)
def test_a_wrong_expression_is_one_line_without_text(spark, tmp_path, sql, told):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"note_id": "1", "note_text": "No fever."}\n', encoding="utf-8")
    made = config(tmp_path, format="jsonl", path=str(path), columns={"note_type": {"sql": sql}})
    with pytest.raises(ConfigError, match=told) as refused:
        ingest(Tables(spark, made.tables), made)
    assert "fever" not in str(refused.value) and "\n" not in str(refused.value)


def stored(spark, tmp_path, sql, **source):
    path = tmp_path / "stored"
    spark.sql(sql).write.mode("overwrite").parquet(str(path))
    return config(tmp_path, format="parquet", path=str(path), **source)


def test_whole_numbers_of_any_type_are_ids(spark, tmp_path):
    made = stored(
        spark,
        tmp_path,
        "SELECT 20000019.0D AS note_id, 'x' AS note_text, 7.00BD AS p, float(12) AS e,"
        " timestamp'2020-01-02 11:04:05' AS t, 1.5D AS k"
        " UNION ALL SELECT -3.0D, 'y', NULL, NULL, NULL, 2.0D",
        columns={"patient_id": "p", "encounter_id": "e", "note_datetime": "t", "note_type": "k"},
    )
    rows = {row.note_id: tuple(row)[2:] for row in taken(spark, made)}
    assert rows == {
        "20000019": ("7", "12", "1.5", "2020-01-02 11:04:05"),
        "-3": (None, None, "2", None),
    }


@pytest.mark.parametrize(
    "values", ["1.5D", "double('NaN')", "9007199254740994.0D", "1.50BD", "float(16777218)"]
)
def test_numbers_that_are_no_ids_are_refused_with_counts(spark, tmp_path, values):
    sql = f"SELECT 'a' AS note_id, 'x' AS note_text, {values} AS p"
    made = stored(spark, tmp_path, sql, columns={"patient_id": "p"})
    told = r"^1 rows have a patient_id \(\w+\) that is no whole number.*: note a; nothing"
    with pytest.raises(DataError, match=told):
        notes_from(spark, made.source)
    left_out = stored(spark, tmp_path, sql, columns={"patient_id": "p"}, where="note_id <> 'a'")
    assert taken(spark, left_out) == []


def test_text_that_is_not_utf_8_is_refused_with_its_notes(spark, tmp_path):
    rows = "SELECT 'a' AS note_id, X'436166E9' AS note_text UNION ALL SELECT 'b', X'636166C3A9'"
    with pytest.raises(DataError, match=r"^1 rows have a note_text that is not UTF-8: note a;"):
        notes_from(spark, stored(spark, tmp_path, rows).source)
    made = stored(spark, tmp_path, rows, where="note_id = 'b'")
    assert texts(spark, made) == {"b": "caf\u00e9"}
    rows = "SELECT 'a' AS note_id, 'x' AS note_text, cast(X'E9' AS string) AS p"
    made = stored(spark, tmp_path, rows, columns={"patient_id": "p"})
    with pytest.raises(DataError, match=r"^1 rows have a patient_id that is not UTF-8"):
        notes_from(spark, made.source)


@pytest.mark.parametrize("text", ["true", "array('x')", "named_struct('a', 1)", "3"])
def test_a_type_that_is_no_text_is_refused(spark, tmp_path, text):
    made = stored(spark, tmp_path, f"SELECT 'a' AS note_id, {text} AS note_text")
    with pytest.raises(ConfigError, match=r"^source\.columns\.note_text: .* a text is expected"):
        notes_from(spark, made.source)


def test_an_id_that_may_be_a_text_is_not_told_and_one_of_two_lines_is_told_on_one(spark, tmp_path):
    rows = "SELECT * FROM VALUES ('No fever.\n', X'E9'), (repeat('No cough. ', 9), X'E9')"
    made = stored(spark, tmp_path, f"{rows} AS t(note_id, note_text)")
    told = r"UTF-8: note No fever\.\?, note an id of 90 characters; nothing"
    with pytest.raises(DataError, match=told) as refused:
        notes_from(spark, made.source)
    assert "\n" not in str(refused.value) and "cough" not in str(refused.value)
