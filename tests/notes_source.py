"""Notes for the tests on Spark, as a source that ingest reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spanlake.config.extract import IngestConfig


def invented_notes(count: int, sentences: int = 24) -> dict[str, str]:
    """Return notes of sentences that no other note has, and one that all have."""
    said = (
        "No fever on day {0}.",
        "Takes aspirin {0} mg daily for headache.",
        "Chest pain {0} is possibly pneumonia.",
        "Mother had breast cancer at {0}.",
    )
    texts = {}
    for note in range(count):
        own = [said[i % len(said)].format(1000 * note + i) for i in range(sentences)]
        texts[f"n{note:03}"] = "\n".join([*own, "No fever or chills."])
    return texts


def jsonl_source(folder: Path, notes: dict[str, str] | list[Any], **options: Any) -> IngestConfig:
    """Write notes {id: text}, or rows, as JSON lines; return what ingests them."""
    if isinstance(notes, dict):
        notes = [{"note_id": i, "note_text": t, "patient_id": i} for i, t in notes.items()]
    path = folder / "notes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in notes), encoding="utf-8")
    given = {"format": "jsonl", "path": str(path), "columns": {"patient_id": "patient_id"}}
    tables = {"location": str(folder / "tables")}
    return IngestConfig.model_validate({"tables": tables, "source": given, **options})
