"""The job files: arguments, exit codes, what they print; the work itself is tested in spark/."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from pyspark import SparkContext

from spanlake.cli import main

ROOT = Path(__file__).resolve().parents[2]


def job(name):
    """Return a job file's program: the verb of its name."""
    return lambda arguments: main([name, *(["--store"] * (name == "evaluate")), *arguments])


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "jobs").glob("*.py")))
def test_a_job_file_is_the_verb_of_its_name(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", "-h"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "jobs" / f"{name}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert f"usage: spanlake {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ingest", "extract", "evaluate", "train"])
def test_an_unknown_key_ends_with_one_clear_line(name, tmp_path, capsys):
    conf = tmp_path / "c.yml"
    conf.write_text("tabels: {location: x}\nextractor: {knd: bert}\n", encoding="utf-8")
    arguments = ["--config", str(conf), *(["--gold", "x"] if name == "evaluate" else [])]
    assert job(name)(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("ConfigError") and "unknown key" in error


@pytest.mark.slow
@pytest.mark.spark
def test_evaluate_gives_what_the_command_gives(spark, few_samples, tmp_path):
    from spanlake.cli import main as command

    conf = tmp_path / "c.yml"
    conf.write_text(f"tables: {{location: {tmp_path / 'tables'}}}\n", encoding="utf-8")
    with_spark, without = tmp_path / "spark.json", tmp_path / "plain.json"
    call = ["--gold", str(few_samples), "--config", str(conf)]
    assert job("evaluate")([*call, "--json", str(with_spark)]) == 0
    assert command(["evaluate", *call, "--json", str(without)]) == 0
    ours, theirs = (json.loads(path.read_text()) for path in (with_spark, without))
    told, also_told = ours.pop("reliability"), theirs.pop("reliability")
    assert ours == theirs
    assert {kind: one["ece"] for kind, one in told.items()} == pytest.approx(
        {kind: one["ece"] for kind, one in also_told.items()},
        abs=1e-4,  # other batches: scores differ in the last digits
    )
    scores = spark.read.format("delta").load(str(tmp_path / "tables" / "scores"))
    micro = scores.where("label IS NULL AND level = 'entities' AND mode = 'strict'").collect()
    assert len(micro) == 1
    assert micro[0].tp == json.loads(without.read_text())["entities"]["strict"]["tp"]
    gold = spark.read.format("delta").load(str(tmp_path / "tables" / "gold_entities"))
    assert (
        gold.count()
        == micro[0].support
        + scores.where("label IS NULL AND level = 'modifiers' AND mode = 'strict'").first().support
    )


@pytest.mark.spark
def test_extract_before_ingest_names_the_missing_table_and_writes_none(spark, tmp_path, capsys):
    conf = tmp_path / "e.yml"
    conf.write_text(f"tables: {{location: {tmp_path / 'tables'}}}\n", encoding="utf-8")
    assert job("extract")(["--config", str(conf)]) == 1
    error = capsys.readouterr().err
    assert "ConfigError: table 'notes' is not at" in error and "ingest first" in error
    assert not (tmp_path / "tables").exists()


@pytest.mark.spark
def test_ingest_and_extract_print_what_they_did(spark, tmp_path, capsys, monkeypatch):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("No fever.", encoding="utf-8")
    tables = f"tables: {{location: {tmp_path / 'tables'}}}\n"
    ingest, extract = tmp_path / "i.yml", tmp_path / "e.yml"
    ingest.write_text(f"{tables}source: {{format: text, path: {tmp_path / 'notes'}}}\n", "utf-8")
    extract.write_text(tables, encoding="utf-8")
    assert job("ingest")(["--config", str(ingest)]) == 0
    assert job("extract")(["--config", str(extract)]) == 0
    printed = capsys.readouterr().out
    for part in ("notes_read", "characters per note", "slowest partition", "model_loads"):
        assert part in printed
    assert "fever" not in printed
    assert job("extract")(["--config", str(extract), "--step", "plan"]) == 0
    assert "nothing to plan" in capsys.readouterr().out
    assert job("extract")(["--config", str(extract), "--step", "derive"]) == 1
    assert "PlanError: there is no unfinished plan to derive" in capsys.readouterr().err
    query = ["--config", str(extract), "--limit", "1"]
    ready = ROOT / "sql" / "note_states.sql"
    assert job("query")([*query, "SELECT label, text FROM current_entities ORDER BY start"]) == 0
    assert job("query")([*query, "--file", str(ready)]) == 0
    printed = capsys.readouterr().out
    assert "|negation|  No|" in printed and "only showing top 1 row" in printed
    assert " done|" in printed
    assert job("query")([*query, "SELECT labl FROM entities"]) == 1
    *_, error = capsys.readouterr().err.splitlines()  # Spark may log lines of its own before
    assert error.startswith("ConfigError: query: [UNRESOLVED_COLUMN")
    assert "fever" not in error
    reading = "/* all */ WITH a AS (SELECT count(*) AS n FROM notes WHERE note_id <> '/*--\"')"
    assert job("query")([*query, f"{reading} SELECT concat('notes: ', n) FROM a; -- of them"]) == 0
    assert "notes: 1" in capsys.readouterr().out
    levels = []
    monkeypatch.setattr(SparkContext, "setLogLevel", lambda _, level: levels.append(level))
    assert job("query")([*query, "SELECT CAST(text AS INT) FROM current_entities"]) == 1
    said = capsys.readouterr().err
    assert "CAST_INVALID_INPUT" in said and "try_cast" in said
    assert "fever" not in said and levels == ["OFF", "ERROR"], "Spark's log would quote the value"


@pytest.mark.spark
def test_a_query_before_ingest_says_so(spark, tmp_path, capsys):
    conf = tmp_path / "e.yml"
    conf.write_text(f"tables: {{location: {tmp_path / 'tables'}}}\n", encoding="utf-8")
    assert job("query")(["--config", str(conf), "SELECT 1"]) == 1
    assert "ingest first" in capsys.readouterr().err


def test_a_query_file_that_is_not_there_is_named(tmp_path, capsys):
    conf = tmp_path / "e.yml"
    conf.write_text("tables: {location: t}\n", encoding="utf-8")
    assert job("query")(["--config", str(conf), "--file", "sql/nope.sql"]) == 1
    assert "sql/nope.sql: no query can be read (FileNotFoundError)" in capsys.readouterr().err
