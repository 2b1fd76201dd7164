"""Tables, sources and configurations for the tests on Spark."""

from __future__ import annotations

from functools import partial

import pytest

from notes_source import jsonl_source
from spanlake.core.config import ExtractConfig, TablesConfig
from spanlake.spark.tables import Tables


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
