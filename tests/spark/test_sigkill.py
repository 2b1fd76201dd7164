"""Processes that are really killed: the job at random moments, its executors, its workers.

The random moments are spread over the commits of a run, and lie behind one of them by up to 1.5
seconds, or between the files of one and the commit itself. A failure prints its seed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import spanlake
from dying_worker import DEATHS
from kills import check_completed, content
from notes_source import invented_notes, jsonl_source
from spanlake.config.extract import ExtractConfig, TablesConfig
from spanlake.spark import extract as extract_module
from spanlake.spark.extract import extract
from spanlake.spark.ingest import ingest
from spanlake.spark.schemas import TABLES
from spanlake.spark.tables import TERMINAL, Tables

ROOT = Path(__file__).resolve().parents[2]
NOTES = 36
SLICES = 3  # each with more units than a first wave takes: as many waves
OPTIONS = {"driver": {}, "spark": {"driver_notes": 0, "slices": SLICES, "wave_minutes": 1e-9}}
SHOWN = ("entities", "relations")
SECONDS = 900  # that a run may take to reach a commit, or its end

pytestmark = pytest.mark.timeout(3600)


def config(tables, way):
    given = {"tables": tables.config, "extractor": {"kind": "dictionary"}}
    return ExtractConfig.model_validate({**given, **OPTIONS[way]})


@pytest.fixture(scope="module")
def ingested(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingested")
    tables = Tables(spark, TablesConfig(location=str(folder / "tables")))
    ingest(tables, jsonl_source(folder, invented_notes(NOTES)))
    return folder / "tables"


def copied(spark, ingested, folder):
    shutil.copytree(ingested, folder / "tables")
    return Tables(spark, TablesConfig(location=str(folder / "tables")))


UNDISTURBED = {}


@pytest.fixture
def undisturbed(spark, ingested, tmp_path_factory, way, monkeypatch):
    """The rows of an undisturbed run, and how many commits it made."""
    if way not in UNDISTURBED:
        tables = copied(spark, ingested, tmp_path_factory.mktemp(way))
        monkeypatch.setattr(extract_module, "slots_of", lambda _: 2)  # as the submitted job has
        facts = extract(tables, config(tables, way))
        assert len(facts["waves"]) == (SLICES if way == "spark" else 0), facts["waves"]
        assert facts["notes"] == NOTES
        UNDISTURBED[way] = tables, content(tables), commits(tables)
    return UNDISTURBED[way]


def submit(tables, way, master="local[2]", script=(ROOT / "jobs" / "extract.py",)):
    """Start the job in a process group of its own; what it says is in a file beside the tables."""
    location = Path(tables.config.location)
    options = {"tables.location": location, "extractor.kind": "dictionary", **OPTIONS[way]}
    conf = location.with_name("extract.yml")
    conf.write_text("{}", encoding="utf-8")
    library = Path(spanlake.__file__).parents[1]
    command = [Path(sys.executable).with_name("spark-submit"), "--master", master]
    command += ["--conf", f"spark.executorEnv.PYTHONPATH={library}", *script, "--config", conf]
    for key, value in options.items():
        command += ["--set", f"{key}={value}"]
    with location.with_name("said").open("ab") as said:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(library), "SPARK_LOCAL_IP": "127.0.0.1"},
        )  # fmt: skip


def complete(tables, way, *how):
    """Let the job run to its end."""
    process = submit(tables, way, *how)
    try:
        assert process.wait(SECONDS) == 0, said(tables)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def said(tables):
    return Path(tables.config.location).with_name("said").read_text(errors="replace")


def commits(tables):
    """Count the commits that a plan makes once, however often it is taken up."""
    logs = Path(tables.config.location).glob("*/_delta_log/*.json")
    return sum(path.parts[-3] not in ("notes", "runs", "plan_events") for path in logs)


def files(tables):
    return sum(1 for _ in Path(tables.config.location).rglob("part-*.parquet"))


def wait_for(condition, process):
    """Wait until something is so; return at once when the job has ended."""
    until = time.monotonic() + SECONDS
    while process.poll() is None and not condition():
        assert time.monotonic() < until, "the job makes no progress"
        time.sleep(0.002)


def kill(tables, way, choice, part):
    """Kill the job after a commit of the first `part` of those that are left to make."""
    made, leases = commits(tables), Path(tables.config.location) / "_leases"
    before = set(leases.glob("*.json"))
    target = made + int((UNDISTURBED[way][2] - made) * part * choice.random())
    inside, delay = choice.random() < 0.5, choice.uniform(0, 1.5)
    process = submit(tables, way)
    try:
        wait_for(lambda: set(leases.glob("*.json")) - before, process)
        wait_for(lambda: commits(tables) >= target, process)
        if inside:
            here = files(tables)
            wait_for(lambda: files(tables) > here, process)
        else:
            time.sleep(delay)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    moment = "between its files and the next commit" if inside else f"{delay:.2f} s later"
    print(f"killed after {commits(tables)} commits ({target}, {moment}), exit code {code}")
    assert code == -signal.SIGKILL, said(tables)


def check_so_far(tables, undisturbed):
    """No text was read twice, and a note is shown with all its rows and its status, or not."""
    here = {table: tables.name(table) for table in TABLES if tables.exists(table)}
    views = {name: tables.spark.sql(query) for name, query in tables._views(here).items()}
    if "extractions" in here:
        read = tables.read("extractions")
        assert read.count() == read.select("unit_key").distinct().count()
    ended = set()
    if "current_note_status" in views:
        states = views["current_note_status"].where(f"state IN {TERMINAL}").collect()
        ended = {row.note_id for row in states}
    for table in SHOWN:
        shown = views[f"current_{table}"].collect() if f"current_{table}" in views else []
        whole = undisturbed.view(f"current_{table}").collect()
        due = [str(row) for row in whole if row.note_id in ended]
        assert sorted(map(str, shown)) == sorted(due), table
    print(f"{len(ended)} notes are shown")


ROUNDS = [pytest.param("spark", 3, None, marks=pytest.mark.long)]
ROUNDS += [pytest.param("driver", 2, None, marks=pytest.mark.slow)]
ROUNDS += [pytest.param("spark", 4, i, marks=pytest.mark.long) for i in range(3)]
ROUNDS += [pytest.param("driver", 2, i, marks=pytest.mark.long) for i in range(4)]


@pytest.mark.parametrize(("way", "kills", "round_"), ROUNDS)
def test_a_job_that_is_killed_at_random_moments_is_completed(
    spark, ingested, undisturbed, tmp_path, way, kills, round_
):
    seed = int(os.environ.get("SIGKILL_SEED", 0)) or random.randrange(1, 2**32)
    print(f"SIGKILL_SEED={seed}")
    choice = random.Random(seed)
    tables = copied(spark, ingested, tmp_path)
    for left in range(kills, 0, -1):
        kill(tables, way, choice, 1 / left)
        check_so_far(tables, undisturbed[0])
    complete(tables, way)
    check_completed(tables, undisturbed[1])
    check_so_far(tables, undisturbed[0])
    runs = tables.read("runs").collect()
    owners = tables.read("plan_events").where("event IN ('claimed', 'taken_over')")
    owned = {row.run_id for row in owners.collect()}
    assert {row.run_id for row in runs if row.state == "lost"} == owned - {runs_done(runs)}
    assert sum(row.units_read for row in runs) == len(undisturbed[1]["extractions"])


def runs_done(runs):
    """Return the run that has ended by itself; one that found nothing to do has no row."""
    done = [row.run_id for row in runs if row.state == "done"]
    assert len(done) <= 1
    return done[0] if done else None


@pytest.mark.long
@pytest.mark.parametrize("way", ["spark"])
def test_workers_and_an_executor_that_die_once_at_a_unit_delay_the_job_only(
    spark, ingested, undisturbed, tmp_path, way
):
    tables, died = copied(spark, ingested, tmp_path), tmp_path / "died"
    died.mkdir()
    script = (ROOT / "tests" / "dying_worker.py", died)
    complete(tables, way, "local-cluster[2,1,1024]", script)
    assert {path.name for path in died.iterdir()} == set(DEATHS.values())
    check_completed(tables, undisturbed[1])
    check_so_far(tables, undisturbed[0])
    assert tables.view("timings").where("attempt > 0").count(), "tasks were run again"
    run = tables.read("runs").collect()
    units = len(undisturbed[1]["extractions"])
    assert [(row.state, row.units_read) for row in run] == [("done", units)]
