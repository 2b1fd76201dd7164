"""PubTator files: ``id|t|title``, ``id|a|abstract``, then tab-parted entities and relations.

The note's text is title, newline, abstract: the offsets count one character between the two.
Relations of PubTator files hold between concepts of the whole abstract, not between entities, so
they are counted (concept_relation) and not read; each entity keeps its concept as the attribute
``identifier``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from spanlake.core.labels import LabelSet
from spanlake.core.types import Note
from spanlake.corpora.base import Draft, GoldNote, ReadReport, file_lines, place, settle

TEXT_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)")


@dataclass(slots=True)
class _Abstract:
    title: str
    abstract: str = ""
    rows: list[tuple[str, list[str]]] = field(default_factory=list)


def read_pubtator(path: Path, labels: LabelSet | None = None) -> tuple[list[GoldNote], ReadReport]:
    """Read a PubTator file, one note an abstract; a line of an unknown id is a bad line."""
    report = ReadReport()
    found: dict[str, _Abstract] = {}
    for where, line in file_lines(path):
        columns = line.split("\t")
        match = TEXT_LINE.fullmatch(line)
        if match and match[2] == "t" and match[1] not in found:
            found[match[1]] = _Abstract(match[3])
        elif match and match[2] == "a" and match[1] in found and not found[match[1]].abstract:
            found[match[1]].abstract = match[3]
        elif match is None and columns[0] in found and len(columns) >= 4:
            found[columns[0]].rows.append((where, columns))
        elif line.strip():
            report.problem(where, "bad_line")
    return [_note(key, abstract, labels, report) for key, abstract in found.items()], report


def _note(note_id: str, found: _Abstract, labels: LabelSet | None, report: ReadReport) -> GoldNote:
    text = f"{found.title}\n{found.abstract}"
    draft = Draft()
    for where, columns in found.rows:
        if not columns[1].isdecimal():
            report.count("concept_relation")
        elif len(columns) < 5 or not columns[2].isdecimal():
            report.problem(where, "bad_line")
        else:
            pieces = [(int(columns[1]), int(columns[2]))]
            entity = place(text, pieces, columns[4], columns[3], where, report)
            if entity and len(columns) > 5 and columns[5]:
                entity = replace(entity, attributes=(("identifier", columns[5]),))
            draft.add(where, where, entity, report)
    return GoldNote(Note(note_id, text), settle(draft, labels, report))
