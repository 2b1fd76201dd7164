"""JSON lines: one note a line with its text, entities and relations; read to gold and written.

A line holds ``note_id``, ``note_text``, ``entities`` of ``start``, ``end`` and ``label``, and where
there is something to say: the note's other columns; for an entity ``text``, ``score``, ``pieces``
and ``attributes``; ``relations`` of ``head``, ``tail`` (positions in ``entities``), ``label`` and
``score``; for both ``"source": "rule"`` where a rule has added them. Keys beyond these are not
looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spanlake.core.labels import LabelSet
from spanlake.core.types import NOTE_COLUMNS, Entity, Note, Relation, Span
from spanlake.corpora.base import (
    Draft,
    DraftRelation,
    GoldNote,
    ReadReport,
    encoded,
    file_lines,
    has_surrogate,
    place,
    settle,
    without_line_breaks,
)
from spanlake.errors import DataError

BY_RULE = "rule"  # the source of what a rule has added
Label = Annotated[str, Field(min_length=1)]
Score = Annotated[float, Field(ge=0, le=1)] | None


class _Line(BaseModel):
    """A line; its entities and relations are checked one by one, so that one costs no other."""

    model_config = ConfigDict(strict=True)

    note_id: Label
    note_text: str
    patient_id: str | None = None
    encounter_id: str | None = None
    note_type: str | None = None
    note_datetime: str | None = None
    entities: list[Any]
    relations: list[Any] = Field(default_factory=list)


class _Entity(BaseModel):
    model_config = ConfigDict(strict=True)

    start: int
    end: int
    label: Label
    text: str | None = None
    score: Score = None
    source: Any = None
    pieces: list[Annotated[list[int], Field(min_length=2, max_length=2)]] = []
    attributes: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []


class _Relation(BaseModel):
    model_config = ConfigDict(strict=True)

    head: int
    tail: int
    label: Label
    score: Score = None
    source: Any = None


def read_jsonl(path: Path, labels: LabelSet | None = None) -> tuple[list[GoldNote], ReadReport]:
    """Read a file of notes; a line that is no note, or repeats a note's id, is a bad line.

    A note with half of a UTF-16 pair, which JSON can write and UTF-8 cannot, is named by its id.
    """
    report = ReadReport()
    notes: dict[str, GoldNote] = {}
    for where, line in file_lines(path):
        if not line.strip():
            continue
        try:
            read = _Line.model_validate_json(line)
        except ValidationError:  # quotes the line, so it goes no further
            _name_bad_line(line, where, report)
            continue
        if read.note_id in notes:
            report.problem(where, "bad_line")
        else:
            notes[read.note_id] = _gold(read, labels, where, report)
    return list(notes.values()), report


def write_jsonl(path: Path, notes: Iterable[GoldNote]) -> None:
    """Write one line a note, UTF-8, LF; raises DataError that names a note UTF-8 cannot hold."""
    with path.open("wb") as file:
        file.writelines(encoded(f"{to_json(gold)}\n", gold.note.note_id) for gold in notes)


def to_json(gold: GoldNote) -> str:
    """Return a note's line without its newline; what is None or empty is left out."""
    columns = {name: getattr(gold.note, name) for name in NOTE_COLUMNS}
    line = {name: value for name, value in columns.items() if value is not None}
    line["entities"] = [_entity_item(entity) for entity in gold.annotation.entities]
    line["relations"] = [_relation_item(relation) for relation in gold.annotation.relations]
    return json.dumps(line, ensure_ascii=False)


def _entity_item(entity: Entity) -> dict[str, Any]:
    item: dict[str, Any] = {"start": entity.start, "end": entity.end, "label": entity.label}
    item["text"] = entity.text
    if entity.score is not None:
        item["score"] = entity.score
    if entity.by_rule:
        item["source"] = BY_RULE
    if entity.pieces:
        item["pieces"] = [[piece.start, piece.end] for piece in entity.pieces]
    if entity.attributes:
        item["attributes"] = [list(pair) for pair in entity.attributes]
    return item


def _relation_item(relation: Relation) -> dict[str, Any]:
    item: dict[str, Any] = {"head": relation.head, "tail": relation.tail, "label": relation.label}
    if relation.score is not None:
        item["score"] = relation.score
    if relation.by_rule:
        item["source"] = BY_RULE
    return item


def _name_bad_line(line: str, where: str, report: ReadReport) -> None:
    try:
        read = json.loads(line)
        damaged = has_surrogate(json.dumps(read, ensure_ascii=False))
        note_id = read["note_id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        damaged, note_id = False, None
    if damaged and isinstance(note_id, str):
        report.problem(f"{where} (note {note_id!a})", "lone_surrogate")
    else:
        report.problem(where, "bad_line")


def _gold(read: _Line, labels: LabelSet | None, where: str, report: ReadReport) -> GoldNote:
    note = Note(**{name: getattr(read, name) for name in NOTE_COLUMNS})
    draft = Draft()
    for index, item in enumerate(read.entities):
        try:
            entity = _entity(_Entity.model_validate(item), note.note_text, where, report)
        except (ValidationError, DataError):
            report.problem(where, "bad_line")
        else:
            draft.add(str(index), where, entity, report)
    for item in read.relations:
        try:
            relation = _Relation.model_validate(item)
        except ValidationError:
            report.problem(where, "bad_line")
        else:
            ends = str(relation.head), str(relation.tail)
            by_rule = relation.source == BY_RULE
            drawn = DraftRelation(where, *ends, relation.label, relation.score, by_rule)
            draft.relations.append(drawn)
    return GoldNote(note, settle(draft, labels, report))


def _entity(item: _Entity, text: str, where: str, report: ReadReport) -> Entity | None:
    """Raise DataError when the pieces are no spans, or do not make up the entity's span."""
    pieces = tuple(Span(start, end) for start, end in item.pieces)
    ends = (min(p.start for p in pieces), max(p.end for p in pieces)) if pieces else ()
    if ends not in ((), (item.start, item.end)):
        raise DataError(f"pieces do not cover {item.start}-{item.end}")
    entity = place(text, [(item.start, item.end)], item.label, item.text, where, report)
    if entity is None:
        return None
    parted = without_line_breaks(text, pieces)
    pieces = parted if len(parted) > 1 else ()
    report.count("discontinuous", len(pieces) > 1)
    attributes = tuple((name, value) for name, value in item.attributes)
    by_rule = item.source == BY_RULE
    return replace(entity, score=item.score, pieces=pieces, attributes=attributes, by_rule=by_rule)
