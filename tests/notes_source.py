"""Notes for the tests on Spark, as a source that ingest reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spanlake.config.extract import IngestConfig


def jsonl_source(folder: Path, notes: dict[str, str] | list[Any], **options: Any) -> IngestConfig:
    """Write notes {id: text}, or rows, as JSON lines; return what ingests them."""
    if isinstance(notes, dict):
        notes = [{"note_id": i, "note_text": t, "patient_id": i} for i, t in notes.items()]
    path = folder / "notes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in notes), encoding="utf-8")
    given = {"format": "jsonl", "path": str(path), "columns": {"patient_id": "patient_id"}}
    tables = {"location": str(folder / "tables")}
    return IngestConfig.model_validate({"tables": tables, "source": given, **options})
