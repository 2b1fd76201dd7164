"""Whenever a job is killed, stalled or joined by another, the tables end as if it had not been."""

from __future__ import annotations

import re
import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest

import spanlake
from kills import Commits, Killed, Progress, check_completed, content, dying
from notes_source import jsonl_source
from spanlake.cli import conclusion
from spanlake.config.extract import ExtractConfig, TablesConfig
from spanlake.errors import DataError, PlanError
from spanlake.spark import extract as extract_module
from spanlake.spark import leases, plan
from spanlake.spark.derive import derive_run, merged_notes
from spanlake.spark.extract import extract
from spanlake.spark.infer import Wave, infer_wave
from spanlake.spark.ingest import ingest
from spanlake.spark.plan import last_plan, units_of_plan
from spanlake.spark.tables import Tables

NOTES = {
    "a": "No fever or chills. Takes aspirin 81 mg daily.",
    "b": "Possible pneumonia.\nNo fever or chills.",
    "c": "",
    "d": "Mother had breast cancer. Takes aspirin 81 mg daily.",
    "e": "Severe headache.",
}
WAYS = pytest.mark.parametrize(
    "way",
    [
        pytest.param("driver", marks=pytest.mark.slow),
        pytest.param("spark", marks=pytest.mark.long),
    ],
)
COMMITS = {"driver": 7, "spark": 22}
OPTIONS = {"driver": {}, "spark": {"driver_notes": 0, "slices": 2, "wave_minutes": 1e-9}}


@pytest.fixture(autouse=True)
def one_slice_a_wave(monkeypatch):
    monkeypatch.setattr(extract_module, "FIRST_WAVE_UNITS", 0)


def config(tables, way="driver", **options):
    given = {"tables": tables.config, "extractor": {"kind": "dictionary"}}
    return ExtractConfig.model_validate({**given, **OPTIONS[way], **options})


def keys(frame, *columns):
    return sorted(tuple(row) for row in frame.select(*columns).collect())


def events(tables, event):
    return tables.read("plan_events").where(f"event = '{event}'").orderBy("number").collect()


@pytest.fixture(scope="module")
def ingested(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingested")
    ingest(
        Tables(spark, TablesConfig(location=str(folder / "tables"))), jsonl_source(folder, NOTES)
    )
    return folder / "tables"


@pytest.fixture
def tables(spark, ingested, tmp_path):
    """A copy of the ingested notes."""
    shutil.copytree(ingested, tmp_path / "tables")
    return Tables(spark, TablesConfig(location=str(tmp_path / "tables")))


UNDISTURBED = {}


@pytest.fixture
def undisturbed(spark, ingested, tmp_path_factory, way):
    """What the tables hold after a run that nothing has disturbed."""
    if way not in UNDISTURBED:
        place = tmp_path_factory.mktemp(way) / "tables"
        shutil.copytree(ingested, place)
        tables = Tables(spark, TablesConfig(location=str(place)))
        with pytest.MonkeyPatch.context() as patch:
            commits = Commits(patch, None)
            extract(tables, config(tables, way))
        UNDISTURBED[way] = content(tables), commits.made
    return UNDISTURBED[way][0]


def killed(tables, way, last, when="before", kind=Commits):
    with dying(last, when, kind) as commits, pytest.raises(Killed):
        extract(tables, config(tables, way))
    return commits


# Some commits of a small plan and one of a large one in the slow set, all others by hand.
SLOW = [("driver", 0), ("driver", 3), ("driver", 5), ("spark", 9)]
ALL = [(way, last) for way, number in COMMITS.items() for last in range(number)]


def marks_of(way, last):
    return pytest.mark.slow if (way, last) in SLOW else pytest.mark.long


MOMENTS = [
    pytest.param(way, last, when, marks=marks_of(way, last))
    for way, last in ALL
    for when in ("before", "after")
    if when == "before" or (way, last) not in SLOW
]


@pytest.mark.parametrize(("way", "last", "when"), MOMENTS)
def test_a_job_killed_at_any_commit_is_completed_by_the_next(tables, undisturbed, way, last, when):
    killed(tables, way, last, when)
    claimed = tables.exists("plan_events") and tables.read("plan_events").count()
    told = tables.exists("runs") and tables.read("runs").count()
    facts = extract(tables, config(tables, way))
    check_completed(tables, undisturbed)
    states = Counter(row.state for row in tables.read("runs").collect())
    assert states["lost"] == (1 if claimed and not told else 0)
    assert states["done"] == (1 if told or facts["notes"] else 0)
    if way == "driver" and last < 2:
        assert facts["units_read"] == 5


@WAYS
def test_the_moments_are_all_there_are(undisturbed, way):
    made = UNDISTURBED[way][1]
    assert len(made) == COMMITS[way], made
    assert len(undisturbed["extractions"]) == 5


@pytest.mark.long
@pytest.mark.timeout(3000)
@WAYS
def test_a_job_that_is_killed_at_every_commit_comes_to_its_end(tables, undisturbed, way):
    """Each run gets one commit further, beside the two that say that it took the plan over."""
    for restart in range(COMMITS[way] + 1):
        last = 0 if restart == 0 else 2
        with dying(last, "after", Progress) as commits:
            try:
                extract(tables, config(tables, way))
            except Killed:
                continue
        break
    assert not commits.dead
    extract(tables, config(tables, way))
    check_completed(tables, undisturbed)
    assert restart >= COMMITS[way] - 4


class Answers(Progress):
    """Counts the commits of answers only."""

    def _commit(self, what, tables, action):
        if what == "extractions":
            return super()._commit(what, tables, action)
        if self.dead:
            raise Killed
        return action()


@pytest.mark.parametrize(
    ("way", "second"),
    [
        ("driver", (2, Progress)),  # after `entities`
        pytest.param("spark", (0, Answers), marks=pytest.mark.long),
    ],
)
@pytest.mark.slow
def test_each_lost_run_of_a_plan_is_told_with_what_it_read_itself(tables, undisturbed, way, second):
    """Killed after a wave, again after the next one, then completed."""
    for last, kind in ((0, Answers), second):
        killed(tables, way, last, "after", kind)
    last = extract(tables, config(tables, way))
    check_completed(tables, undisturbed)
    lost = tables.read("runs").where("state = 'lost'").orderBy("started_at").collect()
    read = [row.units_read for row in lost]
    assert sum(read) == 5 and last["units_read"] == 0
    assert read == [5, 0] if way == "driver" else all(read)
    assert [row.infer_seconds > 0 for row in lost] == [units > 0 for units in read]


@pytest.mark.parametrize("way", ["driver", pytest.param("spark", marks=pytest.mark.slow)])
def test_nothing_is_visible_before_its_status(tables, way):
    with dying(None) as commits:
        commits._last = 10**9
        append = Tables.append

        def no_status(tables, table, *more, **options):
            if table == "note_status":
                commits.dead = True
            append(tables, table, *more, **options)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Tables, "append", no_status)
            extract(tables, config(tables, way))
    assert tables.read("entities").count()
    tables.register_views()
    for view in ("current_entities", "current_relations", "current_note_status"):
        assert tables.spark.table(view).count() == 0, view
    assert tables.spark.table("unprocessed_notes").count() == len(NOTES)
    extract(tables, config(tables, way))
    shown = keys(tables.view("current_entities"), "entity_id")
    assert shown == keys(tables.read("entities"), "entity_id")
    lost = tables.read("runs").where("state = 'lost'").collect()
    assert [row.units_read for row in lost] == [5 if way == "driver" else lost[0].units_read]
    assert lost[0].finished_at is None and lost[0].started_at is not None


@WAYS
def test_a_commit_that_the_storage_refuses_ends_in_one_line(tables, undisturbed, way):
    """As a full or read-only one does, which a test that root runs cannot have."""
    obstacle = Path(tables.config.location) / "entities"
    obstacle.touch()
    with pytest.raises(DataError, match=r"^table 'entities' cannot be written: .*start again$"):
        extract(tables, config(tables, way))
    obstacle.unlink()
    facts = extract(tables, config(tables, way))
    check_completed(tables, undisturbed)
    states = [row.state for row in tables.read("runs").orderBy("started_at").collect()]
    assert (states, facts["notes"]) == (["failed", "done"], len(NOTES))


@WAYS
def test_a_plan_keeps_the_notes_that_a_volatile_where_gave_it(tables, way):
    """And those of the version that it pins, though they are edited before it is completed."""
    with dying(2, "before") as _, pytest.raises(Killed):  # after plan_units
        extract(tables, config(tables, way, where="note_id = 'a' OR rand() < 0.5"))
    planned = keys(tables.read("plan_units").select("note_id", "text_sha256").distinct(), "note_id")
    edited = {note_id: f"{text} Edited." for note_id, text in NOTES.items()}
    ingest(tables, jsonl_source(Path(tables.config.location).parent, edited))
    extract(tables, config(tables, way, where="note_id = 'nobody'"))
    assert keys(tables.read("note_status"), "note_id") == planned
    assert not tables.read("note_status").where("state NOT IN ('done', 'empty')").count()
    assert tables.view("current_note_status").count() == 0, "the texts have changed since"


@pytest.mark.slow
def test_a_plan_killed_before_its_units_reads_the_notes_that_it_pins(tables):
    killed(tables, "spark", 0, "after")
    edited = {**NOTES, "a": "Edited: no cough."}
    ingest(tables, jsonl_source(Path(tables.config.location).parent, edited))
    facts = extract(tables, config(tables, "spark"))
    assert facts["notes"] == len(NOTES) + 1, "what the plan pins, then what has been edited"
    versions = keys(tables.read("note_status").where("note_id = 'a'"), "plan_number", "state")
    assert versions == [(1, "done"), (2, "done")]
    assert ("cough",) in keys(tables.view("current_entities").where("note_id = 'a'"), "text")


@pytest.mark.slow
def test_a_volatile_where_that_finds_nothing_the_second_time_leaves_no_open_plan(
    tables, monkeypatch
):
    texts = extract_module.texts_of
    monkeypatch.setattr(extract_module, "texts_of", lambda *given: texts(*given).where("false"))
    extract(tables, config(tables))
    _, is_open = last_plan(tables, tables.read("plan_events").first().pipeline_fingerprint)
    assert not is_open
    monkeypatch.setattr(extract_module, "texts_of", texts)
    assert extract(tables, config(tables))["notes"] == len(NOTES)


@WAYS
def test_an_owner_that_wakes_up_behind_a_newer_plan_changes_nothing(tables, way):
    stalled, go, ended = threading.Event(), threading.Event(), []
    append = Tables.append

    def stalling(tables, table, *more, **options):
        if table == "entities" and not stalled.is_set():
            stalled.set()
            assert go.wait(500)
        append(tables, table, *more, **options)

    def sleeper():
        try:
            ended.append(extract(tables, config(tables, way)))
        except Exception as error:  # its commits conflict: that is an end as well
            ended.append(error)

    thread = threading.Thread(target=sleeper)
    mine = leases.identity
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tables, "append", stalling)
        patch.setattr(leases, "identity", lambda: {**mine(), "pid": "4194304"})
        thread.start()
        assert stalled.wait(500)
    with (
        pytest.raises(PlanError, match="is being worked on by run"),
        pytest.MonkeyPatch.context() as p,
    ):
        p.setattr(leases, "is_alive", lambda _: True)
        extract(tables, config(tables, way))
    extract(tables, config(tables, way))
    edited = {**NOTES, "b": "No pneumonia."}
    ingest(tables, jsonl_source(Path(tables.config.location).parent, edited))
    extract(tables, config(tables, way))
    before = content(tables), keys(tables.view("current_note_status"), "note_id", "plan_number")
    go.set()
    thread.join(500)
    assert ended and not thread.is_alive()
    assert content(tables) == before[0]
    assert keys(tables.view("current_note_status"), "note_id", "plan_number") == before[1]
    shown = keys(tables.view("current_entities"), "entity_id")
    assert shown and len(shown) == len(set(shown))


@pytest.fixture
def other_labels(tmp_path):
    """A label set with one label more: another model."""
    kiwi = Path(spanlake.__file__).parent / "labels" / "kiwi.yml"
    text = kiwi.read_text(encoding="utf-8").replace("main:\n", "main:\n  unused: Never.\n", 1)
    (tmp_path / "other.yml").write_text(text, encoding="utf-8")
    return str(tmp_path / "other.yml")


@pytest.mark.slow
@WAYS
def test_two_pipelines_at_once_do_not_meet(tables, way, other_labels, undisturbed):
    dictionaries = [{"kind": "dictionary", "labels": labels} for labels in ("kiwi", other_labels)]
    ended = {}

    def run(number):
        own = Tables(tables.spark, tables.config)
        given = config(own, way, extractor=dictionaries[number])
        try:
            ended[number] = extract(own, given)
        except Exception as error:
            ended[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(500)
    assert all(isinstance(facts, dict) for facts in ended.values()), ended
    for facts in ended.values():
        of = f"pipeline_fingerprint = '{facts['pipeline_fingerprint']}'"
        for table in ("entities", "relations", "note_status"):
            assert tables.read(table).where(of).count() == len(undisturbed[table]), table
        assert last_plan(tables, facts["pipeline_fingerprint"])[1] is False
        model = f"model_fingerprint = '{facts['model_fingerprint']}'"
        assert tables.read("extractions").where(model).count() == len(undisturbed["extractions"])
    assert tables.read("runs").where("state = 'done'").count() == 2
    assert sum(facts["published"] for facts in ended.values()) >= 1


@WAYS
def test_a_trial_hides_nothing_until_it_is_published(tables, way, other_labels):
    extract(tables, config(tables, way))
    shown = keys(tables.view("current_entities"), "entity_id")
    trial = config(
        tables, way, extractor={"kind": "dictionary", "labels": other_labels}, where="note_id = 'a'"
    )
    facts = extract(tables, trial)
    assert (facts["notes"], facts["published"]) == (1, False)
    assert "--publish shows this one's" in conclusion(facts, "all")
    assert keys(tables.view("current_entities"), "entity_id") == shown
    idle = extract(tables, trial)
    assert "--publish shows this one's" in conclusion(idle, "all")
    for pipeline, ids in ((trial, {"a"}), (config(tables, way), {*NOTES}), (trial, {"a"})):
        assert extract(tables, pipeline, publish=True)["published"]
        found = {row.note_id for row in tables.view("current_note_status").collect()}
        assert found == ids
    assert conclusion(extract(tables, trial), "all") == ""


@WAYS
def test_a_successor_is_published_when_it_has_every_note(tables, way, monkeypatch):
    """It reads no text again; killed before it is published, the next run publishes it."""
    first = extract(tables, config(tables, way))
    monkeypatch.setattr(extract_module, "DERIVE_VERSION", "next")
    monkeypatch.setattr(plan, "NOTES_PER_SLICE", 2)
    partly = extract(tables, config(tables, way, slices=None, where="note_id <= 'b'"))
    assert (partly["published"], partly["notes"], partly["units_read"]) == (False, 2, 0)
    with dying(None) as commits:
        record = extract_module.publish_pipeline

        def killed_here(*given, **options):
            commits.dead = True
            return record(*given, **options)

        monkeypatch.setattr(extract_module, "publish_pipeline", killed_here)
        with pytest.raises(Killed):
            extract(tables, config(tables, way, slices=None))
        monkeypatch.setattr(extract_module, "publish_pipeline", record)
    shutil.rmtree(Path(tables.config.location) / "_leases")
    pipelines = tables.view("current_note_status").select("pipeline_fingerprint").distinct()
    assert keys(pipelines, "pipeline_fingerprint") == [(first["pipeline_fingerprint"],)]
    last = extract(tables, config(tables, way, slices=None))
    assert last["published"]
    assert keys(pipelines, "pipeline_fingerprint") == [(last["pipeline_fingerprint"],)]
    assert tables.read("extractions").count() == 5, "answers are taken from the first pipeline"
    if way == "spark":
        derived = [row for row in events(tables, "derive") if row.plan_id.endswith("2")]
        assert len(derived) == 2, "three notes, two a slice, though nothing was read"


@pytest.mark.slow
def test_slices_that_are_committed_out_of_order_are_all_there(tables, undisturbed_spark):
    """Delta skips an application's lower number: every run of slices has its own."""
    given = config(tables, "spark")
    extract(tables, given, "plan")
    made, _ = last_plan(tables, tables.read("plan_events").first().pipeline_fingerprint)
    for number in (1, 0):
        plan.record(
            tables, made, "wave", f"test:{number}", number=number, first_slice=number,
            last_slice=number,
        )  # fmt: skip
        infer_wave(tables, made, given.extractor, Wave(number, (number, number), 3), 5000)
    for number in (1, 0):
        plan.record(
            tables, made, "derive", f"test:{number + 2}", number=number, first_slice=number,
            last_slice=number,
        )  # fmt: skip
        derive_run(tables, made, "kiwi", number, (number, number))
    facts = extract(tables, given)
    assert facts["units_read"] == 0
    check_completed(tables, undisturbed_spark)


@pytest.fixture
def undisturbed_spark(spark, ingested, tmp_path_factory):
    return undisturbed.__wrapped__(spark, ingested, tmp_path_factory, "spark")


@pytest.mark.slow
def test_a_note_of_another_patient_now_is_shown_with_that_patient(tables):
    extract(tables, config(tables))
    rows = [{"note_id": i, "note_text": t, "patient_id": "P9"} for i, t in NOTES.items()]
    counts = ingest(tables, jsonl_source(Path(tables.config.location).parent, rows))
    assert counts["notes_changed"] == len(NOTES)
    assert extract(tables, config(tables))["notes"] == 0
    for view in ("current_entities", "current_relations"):
        found = {row.patient_id for row in tables.view(view).collect()}
        assert found <= {"P9"} and (found or view == "current_relations")


# --- what a query reads ---


def explained(frame):
    """Return the operators of a plan: (name, details)."""
    query = frame._jdf.queryExecution()
    told = frame.sparkSession._jvm.PythonSQLUtils.explainString(query, "formatted")
    return re.findall(r"^\(\d+\) (.+?)(?: \[.*\])?\n((?:.+\n)*)", told, re.MULTILINE)


def scans(operators, table):
    return [said for name, said in operators if "Scan" in name and f"/{table}]" in said]


def shuffled(operators):
    """Return what stands in exchanges, broadcasts included."""
    return "\n".join(said for name, said in operators if "Exchange" in name)


@pytest.mark.slow
@pytest.mark.parametrize("read_before", [False, True])
def test_planning_and_deriving_read_what_they_need_once(tables, monkeypatch, read_before):
    """And move no note's text between tasks."""
    if read_before:
        extract(tables, config(tables, where="note_id < 'c'"))
    frames = {}
    append = Tables.append

    def kept(tables, table, rows, *more):
        frames.setdefault(table, explained(rows))
        append(tables, table, rows, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "append", kept)
        extract(tables, config(tables, "spark"), "plan")
    texts = [said for said in scans(frames["plan_units"], "notes") if "note_text" in said]
    assert len(texts) == 1, frames["plan_units"]
    assert len(scans(frames["plan_units"], "notes")) == 1 + read_before, "ids of unread notes"
    assert shuffled(frames["plan_units"]) and "note_text" not in shuffled(frames["plan_units"])
    assert len(scans(frames["work"], "plan_units")) == 1
    assert not scans(frames["work"], "notes") and len(scans(frames["work"], "extractions")) == 1

    with monkeypatch.context() as patch:
        patch.setattr(Tables, "append", kept)
        extract(tables, config(tables, "spark"), "infer")
    assert len(scans(frames["extractions"], "notes")) == 1
    assert len(scans(frames["extractions"], "work")) == 1
    assert "note_text" not in shuffled(frames["extractions"])

    made, _ = last_plan(tables, tables.read("plan_events").first().pipeline_fingerprint)
    files = units_of_plan(tables, made, (1, 1)).inputFiles()
    assert files
    assert all("slice=1" in file and made.plan_id in file for file in files)
    rows = merged_notes(tables, made, "kiwi", (1, 1))
    assert {file for file in rows.inputFiles() if "/plan_units/" in file} == set(files)
    derived = explained(rows)
    assert len([said for said in scans(derived, "notes") if "note_text" in said]) == 1
    assert "note_text" not in shuffled(derived)
    extract(tables, config(tables, "spark"), "derive")


@pytest.mark.slow
def test_an_idle_run_looks_at_no_text(tables, monkeypatch):
    """Of ten million notes it would read some hundred gigabytes, to do nothing."""
    extract(tables, config(tables))
    read = []
    kind = type(tables.read("notes"))
    collect = kind.collect

    def kept(frame):
        read.extend(scans(explained(frame), "notes"))
        return collect(frame)

    monkeypatch.setattr(kind, "collect", kept)
    assert extract(tables, config(tables))["notes"] == 0
    assert read and not [said for said in read if "note_text" in said]
