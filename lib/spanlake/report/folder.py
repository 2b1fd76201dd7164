"""A folder of notes into a folder of brat files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from spanlake.core.corpora import require_folder, write_ann
from spanlake.core.errors import DataError
from spanlake.core.units import Note
from spanlake.models import Extractor
from spanlake.models.annotate import annotate

log = logging.getLogger(__name__)

NOTES_AT_ONCE = 32  # enough units to sort into batches, few enough for progress to be seen


def annotate_folder(notes: Path, to: Path, extractor: Extractor) -> dict[str, str]:
    """Write `to/NAME.ann` for every `notes/NAME.txt`; return {name: error class} of failed ones.

    Texts are UTF-8 and their newlines are not translated; an empty note gets an empty file. A
    note that fails gets none (an old one is removed), and the others are written all the same.
    Raises DataError when there is no folder, or no `.txt` in it, `to` cannot be made, or it is the
    folder of the notes and holds annotation.
    """
    require_folder(notes, "notes (.txt)")
    paths = sorted(notes.glob("*.txt"))
    if not paths:
        raise DataError(f"no .txt files in {notes}")
    if to.resolve() == notes.resolve() and any(notes.glob("*.ann")):
        raise DataError(f"{to} holds .ann files, perhaps by hand: give --to another folder")
    _make(to)
    failed: dict[str, str] = {}
    for first in range(0, len(paths), NOTES_AT_ONCE):
        some = paths[first : first + NOTES_AT_ONCE]
        failed |= _annotate_some(some, to, extractor)
        log.info("%d of %d notes", first + len(some), len(paths))
    return failed


def _make(to: Path) -> None:
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{to}: cannot be made ({type(error).__name__}): give --to another folder"
        ) from None


def _annotate_some(paths: Sequence[Path], to: Path, extractor: Extractor) -> dict[str, str]:
    failed: dict[str, str] = {}
    notes = []
    for path in paths:
        try:
            notes.append(Note(path.stem, path.read_bytes().decode("utf-8")))
        except (UnicodeDecodeError, OSError) as error:
            failed[path.stem] = type(error).__name__
    for note, result in zip(notes, annotate(notes, extractor, ""), strict=True):
        if result.error_class is not None:
            failed[note.note_id] = result.error_class
        else:
            out = to / f"{note.note_id}.ann"
            out.write_bytes(write_ann(result.annotation).encode("utf-8"))
    for name in failed:
        (to / f"{name}.ann").unlink(missing_ok=True)  # of an earlier run: no longer true
    return failed
