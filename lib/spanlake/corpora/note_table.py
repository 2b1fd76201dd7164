"""Tab-separated tables about notes: one row a note, a column `note_id`, and others by name."""

from __future__ import annotations

import csv
from pathlib import Path

from spanlake.errors import DataError


def read_note_table(path: Path, column: str) -> dict[str, str]:
    """Return what `column` says of every note id; raises DataError where the file is no such table.

    Of a note that is named twice, the last row counts.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", strict=True))
        return {row["note_id"]: row[column] for row in rows}
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: no {column} of notes ({type(error).__name__}); needed: tab-separated columns"
            f" note_id and {column}"
        ) from None
