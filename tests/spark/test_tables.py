"""Tables are made as documented, written once, and refuse what breaks their contract."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from spanlake.config.extract import TablesConfig
from spanlake.errors import ConfigError, DataError
from spanlake.spark.schemas import TABLES
from spanlake.spark.session import QUOTING
from spanlake.spark.tables import Tables

ROW = (
    "SELECT 'c' AS corpus, 'n' AS note_id, 'h' AS head_entity_id, 't' AS tail_entity_id,"
    " 'l' AS label"
)


def test_a_transaction_is_written_once(tables):
    rows = tables.spark.sql(ROW)
    for number in (2, 2, 1):  # Delta skips a lower number of one application as well
        tables.append("gold_relations", rows, "wave", number)
    assert tables.read("gold_relations").count() == 1
    for number in (0, 0):
        tables.append("gold_relations", rows, f"wave:{number}")
    assert tables.read("gold_relations").count() == 2


def test_rows_of_an_older_layout_take_null_for_the_fields_they_lack(tables):
    """Within structs and arrays of them, too; a struct that is null stays null."""
    rows = tables.spark.sql(
        "SELECT binary('k') AS unit_key, 'm' AS model_fingerprint, 'ok' AS outcome, 'p' AS plan_id,"
        " 0 AS wave, array(named_struct('start', 1, 'label', 'drug')) AS entities,"
        " if(n = 0, null, named_struct('partition', n)) AS timing FROM VALUES (0), (7) AS t(n)"
    )
    tables.append("extractions", rows)
    for row in tables.read("extractions").collect():
        assert [e.asDict() for e in row.entities] == [
            {"label": "drug", "start": 1, "end": None, "score": None}
        ]
        assert row.timing is None or (row.timing.partition, row.timing.device) == (7, None)
    assert tables.read("extractions").where("timing IS NULL").count() == 1


@pytest.mark.parametrize("left", [(), (".00000000000000000000.json.1.tmp",)])
def test_a_table_whose_making_was_killed_is_made(tables, left):
    """Delta takes the folder of its log for a table, and then makes none."""
    log = Path(tables.config.location) / "gold_relations" / "_delta_log"
    log.mkdir(parents=True)
    for name in left:
        (log / name).touch()
    assert not tables.exists("gold_relations")
    tables.append("gold_relations", tables.spark.sql(ROW))
    assert tables.read("gold_relations").count() == 1


@pytest.mark.parametrize(("start", "end", "score"), [(5, 5, 0.5), (-1, 3, 0.5), (0, 3, 1.5)])
def test_impossible_entities_are_refused(tables, start, end, score):
    values = {"entity_id": "'e'", "start": start, "end": end, "score": score}
    texts = [f.name for f in TABLES["entities"].schema if f.name not in values and not f.nullable]
    columns = ", ".join(f"{v} AS `{k}`" for k, v in values.items())
    row = tables.spark.sql(f"SELECT {columns}").withColumns({name: _one(name) for name in texts})
    with pytest.raises(Exception, match="DELTA_VIOLATE_CONSTRAINT"):
        tables.append("entities", row)


def _one(name):
    return F.lit(1)


def test_a_missing_table_says_what_to_do(tables):
    with pytest.raises(ConfigError, match="ingest first"):
        tables.read("notes")


def test_empty_tables_have_their_whole_schema(tables):
    for name, table in TABLES.items():
        tables.ensure(name)
        assert tables.read(name).schema.names == table.schema.names


def test_tables_of_an_older_layout_are_refused_in_one_line(tables):
    tables.spark.sql(f"CREATE TABLE {tables.name('sentences')} (note_id STRING) USING DELTA")
    with pytest.raises(DataError, match="older layout: upgrade them once with"):
        tables.require_layout()


def test_a_place_on_s3_needs_a_log_store_for_several_writers(spark, monkeypatch):
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    place = Tables(spark, TablesConfig(location="s3a://bucket/tables"))
    with pytest.raises(ConfigError, match=r"spark\.delta\.logStore\.s3a\.impl"):
        place.require_log_store()
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "16.4")
    place.require_log_store()


def test_a_value_that_cannot_be_cast_is_not_logged(spark):
    told = []
    handler = logging.Handler()
    handler.emit = told.append
    text = spark.createDataFrame([("chest pain",)], "x string")
    for name in QUOTING:
        logging.getLogger(name).addHandler(handler)
    try:
        for wrong in (F.col("x").cast("int"), F.expr("cast(x as int)")):
            with pytest.raises(PySparkException):
                text.select(wrong).collect()
    finally:
        for name in QUOTING:
            logging.getLogger(name).removeHandler(handler)
    assert told == []


def test_a_schema_of_the_catalog_works_too(spark):
    spark.sql("CREATE DATABASE IF NOT EXISTS spanlake_test")
    try:
        tables = Tables(spark, TablesConfig.model_validate({"schema": "spanlake_test"}))
        for _ in range(2):
            tables.append("gold_relations", spark.sql(ROW), "wave:0")
        assert spark.table("spanlake_test.gold_relations").count() == 1
    finally:
        spark.sql("DROP DATABASE spanlake_test CASCADE")
