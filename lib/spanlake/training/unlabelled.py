"""Notes without annotation, for pretraining and distillation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spanlake.config.train import UnlabelledNotes
from spanlake.core.types import Note
from spanlake.corpora import read_mtsamples
from spanlake.corpora.note_table import read_note_table
from spanlake.errors import DataError

SEED = 42


def unlabelled_notes(config: UnlabelledNotes) -> list[Note]:
    """Return the notes but those that the table `leave_out` names; raises DataError for none."""
    left_out = read_note_table(Path(config.leave_out), "note_id") if config.leave_out else {}
    found = read_mtsamples(Path(config.notes))
    notes = [note for note in found if note.note_id not in left_out]
    if config.leave_out and len(notes) == len(found):
        raise DataError(f"{config.leave_out} names none of the notes: nothing would be left out")
    if not notes:
        raise DataError(f"{config.notes}: no notes to learn from")
    if config.most_notes and len(notes) > config.most_notes:
        drawn = np.random.default_rng(SEED).permutation(len(notes))[: config.most_notes]
        return [notes[i] for i in drawn]
    return notes
