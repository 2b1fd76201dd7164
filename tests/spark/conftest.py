"""Tables, sources and configurations for the tests on Spark."""

from __future__ import annotations

import os
import tarfile
from functools import partial
from pathlib import Path

import pytest

from notes_source import jsonl_source
from spanlake.config.extract import ExtractConfig, TablesConfig
from spanlake.spark.tables import Tables

# Three invented notes, ingested and read by the dictionary with the code of commit 5e06ce3.
OLD = Path(__file__).parent / "old_tables.tar.gz"


@pytest.fixture
def old(spark, tmp_path):
    """Tables of the older layout."""
    folder = tmp_path / "tables"
    with tarfile.open(OLD) as packed:
        packed.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        os.utime(path)  # Delta drops logs of more than 30 days
    return Tables(spark, TablesConfig(location=str(folder)))


@pytest.fixture
def fresh(spark, tmp_path):
    """Where this test alone has its tables."""
    return Tables(spark, TablesConfig(location=str(tmp_path / "tables")))


@pytest.fixture
def tables(fresh):
    return fresh


@pytest.fixture
def source(tmp_path):
    """Write notes {id: text} (or rows) as JSON lines; return what ingests them."""
    return partial(jsonl_source, tmp_path)


@pytest.fixture
def way():
    """Who does a plan of few notes: parametrised, `driver` (the default) or `spark`."""
    return "driver"


@pytest.fixture
def config(tmp_path, way):
    def make(**options):
        tables = {"location": str(tmp_path / "tables")}
        options = {"driver_notes": 0, **options} if way == "spark" else options
        extractor = {"kind": "dictionary"}
        return ExtractConfig.model_validate({"tables": tables, "extractor": extractor, **options})

    return make
