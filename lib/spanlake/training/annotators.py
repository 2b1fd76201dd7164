"""Who annotated a note: groups of annotators have ways of their own."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from spanlake.corpora import GoldNote
from spanlake.corpora.note_table import read_note_table
from spanlake.errors import DataError

log = logging.getLogger(__name__)


def read_annotators(path: str | None, notes: Sequence[GoldNote]) -> dict[str, int]:
    """Return the number, from 1, of each note's annotators, by a table's column `annotator_batch`.

    Notes that are not in the table, or stand there without a name, are left out: unknown. Raises
    DataError for no such table, or for one that tells nothing of these notes.
    """
    if path is None:
        return {}
    table = read_note_table(Path(path), "annotator_batch")
    told = {gold.note.note_id: table.get(gold.note.note_id) for gold in notes}
    names = sorted({name for name in told.values() if name})
    if not names:
        raise DataError(f"{path} does not say of any note who annotated it")
    log.info("%d groups of annotators; of %d notes unknown", len(names),
             sum(not name for name in told.values()))  # fmt: skip
    return {note_id: 1 + names.index(name) for note_id, name in told.items() if name}


def annotators_digest(numbers: Mapping[str, int]) -> str:
    """Return the hash of what is told of the notes, ids and all, for a recipe."""
    return hashlib.sha256(repr(sorted(numbers.items())).encode()).hexdigest()
