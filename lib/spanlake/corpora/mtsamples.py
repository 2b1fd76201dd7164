"""The MTSamples collection as JSON lines: notes without annotation, their lost lines restored.

The file that goes round has its line breaks replaced by commas (``.,HEADING: , text``), and keeps
what stood above a note (specialty, name, description) in fields of its own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from spanlake.core.types import Note
from spanlake.errors import DataError

SAME_LINE = re.compile(r":(?:\s+,\s*|,\s+)")  # between a heading and its text
NEW_LINE = re.compile(r"(?<=[.:?!)\s]),(?=[^\s,])|,(?=[A-Z][A-Z /&()'-]{2,60}:)")
SPACES = re.compile(r" {2,}")


def read_mtsamples(path: Path) -> list[Note]:
    """Return every note of the file; raises DataError that names the line it cannot read."""
    notes: list[Note] = []
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):  # noqa: B007  # named in the error
                notes.append(_note(json.loads(line)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}, line {number}: no note ({type(error).__name__})") from None
    return notes


def _note(row: dict[str, object]) -> Note:
    specialties = row["medical_specialty"]
    if not isinstance(specialties, list):
        raise TypeError
    head = (
        f"Sample Type / Medical Specialty: {' / '.join(specialties)}",
        f"Sample Name: {row['sample_name']}",
        f"Description: {SPACES.sub(' ', str(row['description']))}",
        "(Medical Transcription Sample Report)",
    )
    text = "\n".join((*head, restore_lines(str(row["text"]))))
    text.encode("utf-8")  # JSON can write half of a UTF-16 pair
    return Note(str(row["note_id"]), text)


def restore_lines(text: str) -> str:
    """Put back the line breaks that had become commas, and single spaces."""
    text = NEW_LINE.sub("\n", SAME_LINE.sub(": ", text))
    return SPACES.sub(" ", text)
