"""ChemProt (BioCreative VI): tab-parted files of abstracts, entities and gold-standard relations.

Offsets count in title, tab, abstract, and that is the note's text. Entities may overlap; they are
all kept and counted. Relations go from the chemical to the gene, labelled ``CPR:3`` and so on.
"""

from __future__ import annotations

from pathlib import Path

from spanlake.core.labels import LabelSet
from spanlake.core.types import Note
from spanlake.corpora.base import (
    Draft,
    DraftRelation,
    GoldNote,
    ReadReport,
    file_lines,
    place,
    settle,
)
from spanlake.errors import DataError

Row = tuple[str, list[str]]  # where, columns


def read_chemprot(
    folder: Path, labels: LabelSet | None = None
) -> tuple[list[GoldNote], ReadReport]:
    """Read one split's folder: its ``*_abstracts``, ``*_entities`` and ``*_gold_standard.tsv``.

    Raises DataError when one of the three files is missing.
    """
    report = ReadReport()
    notes: dict[str, Note] = {}
    for where, columns in _rows(folder, "abstracts", 3, report):
        if columns[0] in notes:
            report.problem(where, "bad_line")
        else:
            notes[columns[0]] = Note(columns[0], f"{columns[1]}\t{columns[2]}")
    drafts = {note_id: Draft() for note_id in notes}
    for row in _rows(folder, "entities", 6, report):
        _add_entity(row, notes, drafts, report)
    for row in _rows(folder, "gold_standard", 4, report):
        _add_relation(row, drafts, report)
    return [GoldNote(notes[k], settle(drafts[k], labels, report)) for k in notes], report


def _rows(folder: Path, kind: str, width: int, report: ReadReport) -> list[Row]:
    """Return a file's rows; one with another number of columns is a bad line."""
    paths = sorted(folder.glob(f"*_{kind}.tsv"))
    if len(paths) != 1:
        raise DataError(f"{folder.name}: {len(paths)} files *_{kind}.tsv, expected one")
    rows = []
    for where, line in file_lines(paths[0]):
        columns = line.split("\t")
        if len(columns) == width:
            rows.append((where, columns))
        elif line.strip():
            report.problem(where, "bad_line")
    return rows


def _add_entity(
    row: Row, notes: dict[str, Note], drafts: dict[str, Draft], report: ReadReport
) -> None:
    where, (note_id, key, label, start, end, stated) = row
    if note_id not in notes or not (start.isdecimal() and end.isdecimal()):
        report.problem(where, "bad_line")
        return
    text = notes[note_id].note_text
    entity = place(text, [(int(start), int(end))], label, stated, where, report)
    drafts[note_id].add(key, where, entity, report)


def _add_relation(row: Row, drafts: dict[str, Draft], report: ReadReport) -> None:
    where, (note_id, label, head, tail) = row
    if note_id not in drafts or not (head.startswith("Arg1:") and tail.startswith("Arg2:")):
        report.problem(where, "bad_line")
        return
    drafts[note_id].relations.append(DraftRelation(where, head[5:], tail[5:], label))
