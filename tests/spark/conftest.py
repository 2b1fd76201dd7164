"""Tables, sources and configurations for the tests on Spark."""

from __future__ import annotations

import json
import pytest

from spanlake.core.config import ExtractConfig, IngestConfig, TablesConfig
from spanlake.spark.tables import Tables


@pytest.fixture
def tables(spark, tmp_path):
    return Tables(spark, TablesConfig(location=str(tmp_path / "tables")))


@pytest.fixture
def source(tmp_path):
    """Write notes {id: text} (or rows) as JSON lines; return the configuration that ingests them."""

    def write(notes, **options):
        rows = notes if isinstance(notes, list) else [
            {"note_id": i, "note_text": text, "patient_id": i} for i, text in notes.items()
        ]
        path = tmp_path / "notes.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        given = {"format": "jsonl", "path": str(path), "columns": {"patient_id": "patient_id"}}
        tables = {"location": str(tmp_path / "tables")}
        return IngestConfig.model_validate({"tables": tables, "source": given, **options})

    return write


@pytest.fixture
def config(tmp_path):
    def make(**options):
        tables = {"location": str(tmp_path / "tables")}
        return ExtractConfig.model_validate({"tables": tables, **options})

    return make
