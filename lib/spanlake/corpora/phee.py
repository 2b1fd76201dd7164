"""PHEE: JSON lines of sentences with events, read as the spans of their triggers and arguments.

A trigger's label is its event's type, an argument's is its role, wherever it is nested. Which
argument belongs to which event is not read. An argument in pieces becomes its covering span.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spanlake.core.labels import LabelSet
from spanlake.core.types import Note
from spanlake.corpora.base import (
    Draft,
    GoldNote,
    ReadReport,
    file_lines,
    has_surrogate,
    place,
    settle,
)

Found = tuple[str, tuple[tuple[int, int], ...], str]  # label, pieces, stated text


def read_phee(path: Path, labels: LabelSet | None = None) -> tuple[list[GoldNote], ReadReport]:
    """Read a file, one note a sentence; a line that is none, or repeats an id, is a bad line."""
    report = ReadReport()
    notes: dict[str, GoldNote] = {}
    for where, line in file_lines(path):
        if not line.strip():
            continue
        try:
            note, spans = _parsed(line)
        except (ValueError, KeyError, TypeError):  # may quote the line, so it goes no further
            report.problem(where, "bad_line")
            continue
        if note.note_id in notes:
            report.problem(where, "bad_line")
        else:
            notes[note.note_id] = _gold(note, spans, labels, where, report)
    return list(notes.values()), report


def _parsed(line: str) -> tuple[Note, list[Found]]:
    """Return a line's note and spans, each once: events of a sentence share their arguments."""
    read = json.loads(line)
    spans = list(dict.fromkeys(_spans(read["annotations"], "")))
    places = [place for _, pieces, _ in spans for piece in pieces for place in piece]
    if has_surrogate(json.dumps(read, ensure_ascii=False)):
        raise ValueError("half of a UTF-16 pair")
    if not isinstance(read["context"], str) or not all(isinstance(at, int) for at in places):
        raise TypeError("no text, or an offset that is no whole number")
    return Note(str(read["id"]), read["context"]), spans


def _spans(node: Any, label: str) -> Iterator[Found]:
    """Yield every span of an event or argument, and of what is nested in it."""
    if isinstance(node, list):
        for one in node:
            yield from _spans(one, label)
    elif isinstance(node, dict):
        for texts, starts in zip(node.get("text", ()), node.get("start", ()), strict=True):
            pieces = tuple((a, a + len(text)) for a, text in zip(starts, texts, strict=True))
            yield label, pieces, " ".join(texts)
        for role, inner in node.items():
            yield from _spans(inner, node["event_type"] if role == "Trigger" else role)


def _gold(
    note: Note, spans: list[Found], labels: LabelSet | None, where: str, report: ReadReport
) -> GoldNote:
    draft = Draft()
    for number, (label, pieces, stated) in enumerate(spans):
        entity = place(note.note_text, pieces, label, stated, where, report)
        draft.add(str(number), where, entity, report)
    return GoldNote(note, settle(draft, labels, report))
