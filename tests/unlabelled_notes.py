"""Notes without annotation, in the form of the MTSamples file."""

from __future__ import annotations

import json
from pathlib import Path

from gold_notes import NOTES


def write_unlabelled(folder: Path) -> dict[str, str]:
    """Write the texts of the gold notes, and one that is excluded; return the options."""
    texts = [gold.note.note_text for gold in NOTES] + ["Never read this."]
    rows = [
        {
            "note_id": i,
            "medical_specialty": [],
            "sample_name": "x",
            "description": "y",
            "text": text,
        }
        for i, text in enumerate(texts)
    ]
    notes, excluded = folder / "notes.jsonl", folder / "excluded.tsv"
    notes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    excluded.write_text(f"note_id\tother\n{len(texts) - 1}\tx\n")
    return {"notes": str(notes), "exclude_ids_file": str(excluded)}
