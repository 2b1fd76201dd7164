"""Upkeep: orphan plans, an older layout, erased texts; and what is done in one session."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spanlake.errors import DataError, PlanError
from spanlake.models import model_fingerprint
from spanlake.spark import maintain as upkeep
from spanlake.spark.extract import extract
from spanlake.spark.ingest import ingest
from spanlake.spark.leases import Lease
from spanlake.spark.maintain import maintain, purge, upgrade
from spanlake.spark.plan import last_plan
from spanlake.spark.tables import Tables

NOTES = {"a": "No fever. Given aspirin.", "b": "Chest pain since Monday.", "c": "No cough."}


class Killed(BaseException):
    """What a SIGKILL would do to the statements that follow."""


def count(tables, table, where="true"):
    return tables.read(table).where(where).count()


def plan_ids(tables, table):
    return {row[0] for row in tables.read(table).select("plan_id").distinct().collect()}


@pytest.mark.slow
def test_an_upgrade_keeps_the_answers_wherever_it_is_killed(old, config, monkeypatch):
    model = model_fingerprint(config().extractor)
    name = old.name("extractions")
    old.spark.sql(f"UPDATE {name} SET model_fingerprint = '{model}'")  # that of today's code
    before = old.read("extractions").drop("unit_sha256").collect()
    keys = {row[0][:32] for row in old.read("extractions").select("unit_sha256").collect()}
    entities = {tuple(row) for row in old.read("entities").select("text", "start").collect()}
    runs = count(old, "runs")
    with pytest.raises(DataError, match=r"older layout: .*`spanlake maintain --upgrade`"):
        extract(old, config())

    def killed(*_, **__):
        raise Killed

    for place, what in ((Tables, "append"), (upkeep, "_drop"), (upkeep.shutil, "rmtree")):
        with monkeypatch.context() as patch:
            patch.setattr(place, what, killed)
            with pytest.raises(Killed):
                upgrade(old)
        assert old.is_old()
    assert upgrade(old)
    assert not upgrade(old)
    assert not [path for path in Path(old.config.location).iterdir() if path.name == "sentences"]
    rows = old.read("extractions").collect()
    assert {bytes(row.unit_key).hex() for row in rows} == keys and len(rows) == len(before) == 5
    # fields that the older layout lacks are null
    assert {(r.plan_id, r.wave, _not_null(r.timing)) for r in rows} == {
        (r.plan_id, r.wave, _not_null(r.timing)) for r in before
    }
    assert any(r.timing for r in rows)
    assert all(row.undecided is None for row in rows)
    facts = extract(old, config(driver_notes=0))
    assert (facts["units"], facts["units_read"], facts["notes"]) == (5, 0, 3)
    assert {tuple(r) for r in old.read("entities").select("text", "start").collect()} == entities
    assert count(old, "runs") == runs + 1 and not count(old, "runs", "state = 'running'")
    assert old.view("sentences").count() == 5


def test_an_upgrade_waits_for_a_run_of_the_older_code(old):
    runs = old.name("runs")
    old.spark.sql(f"UPDATE {runs} SET state = 'running', heartbeat_at = current_timestamp()")
    with pytest.raises(PlanError, match=r"older code renewed its row .* minutes ago"):
        upgrade(old)
    assert count(old, "extractions", "unit_sha256 IS NOT NULL") == 5


@pytest.mark.slow
def test_maintain_gives_up_dead_plans_and_drops_what_no_note_needs(
    tables, source, config, monkeypatch
):
    vacuumed = []
    monkeypatch.setattr(upkeep, "_vacuum", lambda _, hours: vacuumed.append(hours))
    monkeypatch.setattr(upkeep, "COMPACTED", ("entities",))
    for notes in (NOTES, {**NOTES, "b": "No rash."}):
        ingest(tables, source(notes))
        extract(tables, config())
    first, second = sorted(plan_ids(tables, "plan_units"))
    ingest(tables, source({**NOTES, "b": "No itch."}))
    third = extract(tables, config(), "plan")["plan_id"]
    with pytest.raises(PlanError, match=rf"^--vacuum-hours 1: open plans .*{third} .notes version"):
        maintain(tables, config(), hours=1)
    done = maintain(tables, config())
    assert done["plans open"] == third and done["plans given up"] == "none"
    assert done["files compacted"].endswith(" into 1") and vacuumed == [720]
    # `a` and `c` need the first plan; what the second has read is no note's text any more
    assert plan_ids(tables, "plan_units") == {first, third} and first < second < third
    assert plan_ids(tables, "work") == {third}
    with pytest.raises(PlanError, match=f"no open plan nonsense; open: {third}"):
        maintain(tables, config(), abandon="nonsense")
    plan = last_plan(tables, tables.read("plan_events").first().pipeline_fingerprint)[0]
    with Lease(tables, plan.run_id, lambda: None):
        with pytest.raises(PlanError, match=f"{third} is being worked on by run {plan.run_id}"):
            maintain(tables, config(), abandon=third)
    done = maintain(tables, config(), hours=1, abandon="all")
    assert (done["plans open"], done["plans given up"]) == ("none", third)
    # the text of `b` is in no other plan yet than the one that was given up
    assert plan_ids(tables, "plan_units") == {first, third} and not plan_ids(tables, "work")
    assert count(tables, "plan_events", f"plan_id = '{third}' AND event = 'abandoned'") == 1
    assert vacuumed == [720, 1]
    facts = extract(tables, config())
    assert (facts["notes"], facts["units_read"]) == (1, 1)
    assert tables.view("sentences").count() == 4


@pytest.mark.slow
def test_a_purge_waits_for_open_plans(tables, source, config):
    ingest(tables, source(NOTES))
    extract(tables, config(), "plan")
    with pytest.raises(PlanError, match=r"^purge: open plans need older versions of notes: .*1\)"):
        purge(tables, config())
    assert count(tables, "plan_units") == 4


@pytest.mark.slow
def test_no_word_of_an_erased_note_is_left_anywhere(tmp_path):
    """One session of its own: notes are read by jobs and by the driver, then erased."""
    events = tmp_path / "events"
    events.mkdir()
    (tmp_path / "canary.py").write_text(SCRIPT, encoding="utf-8")
    conf = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": events.as_uri(),
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    given = " ".join(f"--conf {key}={value}" for key, value in conf.items())
    run = subprocess.run(
        [sys.executable, "canary.py"], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYSPARK_SUBMIT_ARGS": f"{given} pyspark-shell"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["codes"] == [0, 0, 1, 0, 0], run.stderr[-3000:]
    assert {"notes", "entities", "relations", "plan_units"} <= set(found["before"])
    assert found["after"] == []
    assert found["rows"] == {"notes": 2, "note_status": 2, "statuses": ["keep", "x"]}
    said = run.stdout + run.stderr
    assert "CAST_INVALID_INPUT" in said and "purged" in said
    assert not WORDS.search(said)
    logs = [path for path in events.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in logs) > 100_000
    rest = [path for path in (tmp_path / "tables").rglob("*") if path.suffix != ".parquet"]
    for path in [*logs, *filter(Path.is_file, rest)]:
        lines = path.read_text(encoding="latin-1").splitlines()
        # Spark's own event of a task that failed in the user's condition: docs/privacy.md
        quoting = [line for line in lines if WORDS.search(line)]
        assert all("CAST_INVALID_INPUT" in line for line in quoting), path.name


WORDS = re.compile("quokka|86753 mg", re.IGNORECASE)
SCRIPT = """
import json, sys
from pathlib import Path
import pyarrow.parquet as pq
from spanlake.cli import main

TABLES = Path("tables").resolve()
SECRET = "QUOKKA HISTORY: No fever.\\nThe quokka had chest pain. Aspirin 86753 mg."
source = {"format": "jsonl", "path": "notes.jsonl"}
Path("ingest.yml").write_text(json.dumps({"tables": {"location": str(TABLES)}, "source": source}))
extractor = {"kind": "dictionary"}
Path("extract.yml").write_text(json.dumps({"tables": {"location": str(TABLES)},
                                           "extractor": extractor}))

def write(**notes):
    rows = [{"note_id": i, "note_text": t} for i, t in notes.items()]
    Path("notes.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))

def holding():
    files = [p for p in TABLES.rglob("*.parquet") if "_delta_log" not in p.parts]
    texts = {p: str(pq.ParquetFile(p).read().to_pylist()).lower() for p in files}
    kept = [p for p, text in texts.items() if "quokka" in text or "86753 mg" in text]
    return sorted({p.relative_to(TABLES).parts[0] for p in kept})

def update(*options):
    return main(["update", "--ingest", "ingest.yml", "--extract", "extract.yml", *options])

write(x=SECRET, keep="No cough.")
codes = [update("--set", "driver_notes=0")]
write(x=SECRET, keep="No cough.", y=SECRET + " No quokka rash.")
codes.append(update())
write(x=SECRET, keep="No cough.", y=SECRET + " No quokka rash.", z=SECRET + " Quokka.")
codes.append(update("--set", "where=CAST(note_text AS INT) > 0"))
before = holding()
write(x="Chest pain.", keep="No cough.")
codes.append(update("--set", "removed_share=1"))
codes.append(main(["purge", "--config", "extract.yml", "--answers", "--vacuum-now"]))
import pyspark
spark = pyspark.sql.SparkSession.getActiveSession()
status = spark.read.format("delta").load(str(TABLES / "note_status")).collect()
rows = {"notes": spark.read.format("delta").load(str(TABLES / "notes")).count(),
        "note_status": len(status), "statuses": sorted(r.note_id for r in status)}
Path("found.json").write_text(json.dumps(
    {"codes": codes, "before": before, "after": holding(), "rows": rows}))
spark.stop()
"""


def _not_null(timing):
    """Return the fields of a struct that are not null."""
    return timing and frozenset((k, v) for k, v in timing.asDict().items() if v is not None)
