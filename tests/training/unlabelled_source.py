"""Notes without annotation, in the form of the MTSamples file."""

from __future__ import annotations

import json
from pathlib import Path

from gold_notes import NOTES


def write_source(folder: Path) -> dict[str, str]:
    """Write the texts of the gold notes, and one that is to be left out; return the options."""
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
    notes, left_out = folder / "notes.jsonl", folder / "left_out.tsv"
    notes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    left_out.write_text(f"note_id\tother\n{len(texts) - 1}\tx\n")
    return {"notes": str(notes), "leave_out": str(left_out)}
