"""Tables of an earlier version go on: they get the columns that have come since."""

from __future__ import annotations

import pytest
from pyspark.sql import types as T

from spanlake.errors import DataError
from spanlake.spark.extract import extract
from spanlake.spark.ingest import FACTS, facts_of, ingest
from spanlake.spark.maintain import upgrade
from spanlake.spark.runs import Run
from spanlake.spark.schemas import TABLES


@pytest.mark.slow
def test_old_tables_take_new_rows_and_keep_their_own(old, source, config):
    upgrade(old)
    before = {name: old.read(name).count() for name in ("notes", "runs", "extractions")}
    assert before["notes"] == 3 and before["extractions"] > 0
    assert not set(FACTS) & set(old.read("runs").schema.names)
    given = source({"new": "No rash. Given aspirin."}, removed_notes="keep")
    with Run(old, "ingest", given) as run:
        run.facts |= facts_of(ingest(old, given))
    facts = extract(old, config())
    assert facts["failed_notes"] == 0
    for name, table in TABLES.items():
        if old.exists(name):
            missing = set(table.schema.names) - set(old.read(name).schema.names)
            assert not missing or name not in ("runs", "entities", "relations"), name
    runs = {row.run_id: row for row in old.read("runs").collect()}
    assert len(runs) == before["runs"] + 2
    mine = runs.pop(run.run_id)
    assert (mine.rows_read, mine.notes_new, mine.notes_unchanged) == (1, 1, 0)
    assert all(row[name] is None for row in runs.values() for name in FACTS)
    assert {row.note_id for row in old.read("notes").collect()} == {"n1", "n2", "n3", "new"}
    assert old.read("entities").count() > 0
    assert old.read("extractions").count() > before["extractions"]
    old.register_views()
    assert old.spark.table("unprocessed_notes").count() == 0
    assert old.spark.sql("SELECT * FROM current_note_status").count() == 4
    comments = {f.name: f.metadata.get("comment") for f in old.read("runs").schema.fields}
    assert comments["rows_left_out"] == "by source.where"


def test_a_column_that_may_not_be_null_is_not_added(tables):
    place = tables.name("plan_events")
    tables.spark.sql(f"CREATE TABLE {place} (plan_id STRING NOT NULL, notes BIGINT) USING DELTA")
    with pytest.raises(DataError, match=r"table 'plan_events' .*lacks plan_number, .*a new place$"):
        tables.ensure("plan_events")
    assert tables.read("plan_events").schema.names == ["plan_id", "notes"]


def test_fields_of_structs_are_added_within_arrays_too(tables):
    schema = TABLES["extractions"].schema
    older = {f.name: f.dataType.simpleString() for f in schema.fields}
    older["entities"] = "array<struct<label:string,end:int>>"
    older["timing"] = "struct<partition:int>"
    columns = ", ".join(f"`{name}` {kind}" for name, kind in older.items())
    tables.spark.sql(f"CREATE TABLE {tables.name('extractions')} ({columns}) USING DELTA")
    row = "array(named_struct('label', 'x', 'end', 2)) AS entities"
    old = tables.spark.sql(f"SELECT X'01' AS unit_key, {row}, struct(1 AS partition) AS timing")
    old.write.format("delta").mode("append").save(tables.name("extractions")[7:-1])
    answer = T.StructType([schema["unit_key"], schema["entities"], schema["timing"]])
    timing = {"partition": 2, "host": "h"}
    span = {"label": "y", "start": 1, "end": 2, "score": 0.5}
    new = tables.spark.createDataFrame([(b"\2", [span], timing)], answer)
    tables.append("extractions", new)
    found = {bytes(row.unit_key): row for row in tables.read("extractions").collect()}
    assert found[b"\2"].entities[0].asDict() == span
    assert found[b"\1"].entities[0].asDict() == {**span, "label": "x", "start": None, "score": None}
    assert (found[b"\1"].timing.host, found[b"\2"].timing.host) == (None, "h")
    assert not list(tables._lacking("extractions"))
