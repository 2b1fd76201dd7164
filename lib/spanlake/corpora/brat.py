"""brat standoff: ``NAME.txt`` with ``NAME.ann`` beside it, read to gold and written.

Offsets count the characters of the file as stored, so CRLF is two. Lines of an ``.ann`` may come
in any order. A discontinuous entity becomes its covering span and keeps its pieces. Events become
relations from their trigger, labelled with the role without its trailing digits; an argument or
attribute that names an event means its trigger.

brat refuses a line whose text is not that of its offsets, character by character, and a text cannot
hold a line end. So an entity over a line end is written in fragments, which are read as one piece.
What a rule has added carries the annotator's note ``source: rule``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Entity, Note
from spanlake.corpora.base import (
    LINE_BREAK,
    ONE_LINE,
    Draft,
    DraftRelation,
    GoldNote,
    ReadReport,
    encoded,
    files_by_name,
    lines_of,
    place,
    read_text,
    require_folder,
    settle,
)
from spanlake.errors import DataError

ENTITY = re.compile(r"(T\S+)\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?")
RELATION = re.compile(r"(R\S+)\t(\S+) (\w+):(\S+) (\w+):(\S+)")
EVENT = re.compile(r"(E\S+)\t\S+?:(T\S+)((?: +\S+:\S+)*)")
ATTRIBUTE = re.compile(r"[AM]\S+\t(\S+) (\S+)(?: (.*))?")
BY_RULE = re.compile(r"#\d+\tAnnotatorNotes ([TR]\S+)\tsource: rule")
OTHER = re.compile(r"(\*|N\d+|#\d*)\t.*")
NOT_READ = {"*": "symmetric_relation", "N": "normalization", "#": "comment"}


@dataclass(slots=True)
class _Parsed:
    """An .ann file before its ids are resolved, because its lines come in any order.

    `events` holds (where, trigger id) by event id, `attributes` (where, target, (name, value)),
    `relations` the positions of an id's relations in the draft, `by_rule` the ids so marked.
    """

    draft: Draft = field(default_factory=Draft)
    events: dict[str, tuple[str, str]] = field(default_factory=dict)
    attributes: list[tuple[str, str, tuple[str, str]]] = field(default_factory=list)
    relations: dict[str, list[int]] = field(default_factory=dict)
    by_rule: list[str] = field(default_factory=list)


def read_brat(
    folder: Path, labels: LabelSet | None = None, encoding: str = "utf-8"
) -> tuple[list[GoldNote], ReadReport]:
    """Read every pair of NAME.txt and NAME.ann of a folder, in order of name, as note NAME.

    `encoding` is that of the texts; an .ann is UTF-8. Raises DataError when there is no folder, it
    has no notes, or a file lacks its partner or cannot be read.
    """
    require_folder(folder, "annotated notes (.txt and .ann)")
    texts, anns = files_by_name(folder, ".txt"), files_by_name(folder, ".ann")
    if not texts:
        raise DataError(f"{folder}: no .txt files")
    if lone := sorted(texts.keys() ^ anns.keys()):
        shown = ", ".join(lone[:5])
        raise DataError(f"{folder}: {len(lone)} names lack .txt or .ann, as {shown}")
    report = ReadReport()
    notes = [Note(name, read_text(texts[name], encoding)) for name in sorted(texts)]
    return [_read(anns[note.note_id], note, labels, report) for note in notes], report


def read_ann(path: Path, note: Note, labels: LabelSet | None = None) -> tuple[GoldNote, ReadReport]:
    """Read one .ann file about a note that is had from elsewhere (a folder of predictions)."""
    report = ReadReport()
    return _read(path, note, labels, report), report


def parse_ann(
    ann_text: str,
    note_text: str,
    *,
    name: str,
    report: ReadReport,
    labels: LabelSet | None = None,
) -> Annotation:
    """Return what an .ann file's text says about a note; `name` stands for it in the report."""
    parsed = _Parsed()
    for where, line in lines_of(ann_text, name):
        if line.strip():
            _parse_line(line, note_text, where, parsed, report)
    draft = parsed.draft

    def key_of(name: str) -> str:
        return parsed.events[name][1] if name in parsed.events else name

    for where, trigger in parsed.events.values():
        if trigger not in draft.entities:
            report.problem(where, "dangling_event")
    for where, target, attribute in parsed.attributes:
        if key_of(target) not in draft.entities:
            report.problem(where, "dangling_attribute")
            continue
        stands, entity = draft.entities[key_of(target)]
        entity = replace(entity, attributes=(*entity.attributes, attribute))
        draft.entities[key_of(target)] = stands, entity
    draft.relations = [
        replace(drawn, head=key_of(drawn.head), tail=key_of(drawn.tail))
        for drawn in draft.relations
    ]
    _mark_by_rule(parsed, report)
    return settle(draft, labels, report)


def write_ann(annotation: Annotation) -> str:
    """Return an annotation as .ann text: T, R, A and # lines; empty for an empty annotation.

    An entity over a line break or tab is written in the fragments between them. Scores are not
    written. Raises DataError for a label, attribute or entity that the format cannot hold.
    """
    lines = [_entity_line(i, entity) for i, entity in enumerate(annotation.entities, start=1)]
    lines += [
        f"R{i}\t{_token(relation.label)} Arg1:T{relation.head + 1} Arg2:T{relation.tail + 1}"
        for i, relation in enumerate(annotation.relations, start=1)
    ]
    attributes = [
        f"{_token(name)} T{i} {_value(value)}".rstrip(" ")
        for i, entity in enumerate(annotation.entities, start=1)
        for name, value in entity.attributes
    ]
    lines += [f"A{i}\t{attribute}" for i, attribute in enumerate(attributes, start=1)]
    marked = [f"T{i}" for i, entity in enumerate(annotation.entities, start=1) if entity.by_rule]
    marked += [
        f"R{i}" for i, relation in enumerate(annotation.relations, start=1) if relation.by_rule
    ]
    lines += [f"#{i}\tAnnotatorNotes {key}\tsource: rule" for i, key in enumerate(marked, start=1)]
    return "".join(f"{line}\n" for line in lines)


def write_brat(folder: Path, notes: Iterable[GoldNote]) -> None:
    """Write NOTE_ID.txt and NOTE_ID.ann for every note.

    Raises DataError for an id with a path, and for what UTF-8 or the format cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for gold in notes:
        name = gold.note.note_id
        if not name or Path(name).name != name:
            raise DataError(f"note id {name!r} cannot be a file name")
        text = encoded(gold.note.note_text, name)
        ann = encoded(write_ann(gold.annotation), name)
        (folder / f"{name}.txt").write_bytes(text)
        (folder / f"{name}.ann").write_bytes(ann)


def _read(path: Path, note: Note, labels: LabelSet | None, report: ReadReport) -> GoldNote:
    ann = read_text(path)
    annotation = parse_ann(ann, note.note_text, name=path.name, report=report, labels=labels)
    return GoldNote(note, annotation)


def _parse_line(line: str, note_text: str, where: str, parsed: _Parsed, report: ReadReport) -> None:
    bare = line.rstrip()
    if match := BY_RULE.fullmatch(bare):
        parsed.by_rule.append(match[1])
    elif OTHER.fullmatch(line):
        report.count(NOT_READ[line[0]])
    elif match := ENTITY.fullmatch(line):
        key, label, offsets, stated = match.groups()
        pieces = [(int(a), int(b)) for a, b in (piece.split() for piece in offsets.split(";"))]
        entity = place(note_text, pieces, label, stated or "", where, report)
        parsed.draft.add(key, where, entity, report)
    elif match := RELATION.fullmatch(bare):
        key, label, first, head, _, tail = match.groups()
        if first == "Arg2":  # the roles are named, so their order is free
            head, tail = tail, head
        parsed.relations.setdefault(key, []).append(len(parsed.draft.relations))
        parsed.draft.relations.append(DraftRelation(where, head, tail, label))
    elif match := EVENT.fullmatch(bare):
        _parse_event(match, where, parsed, report)
    elif match := ATTRIBUTE.fullmatch(bare):
        name, target, value = match.groups()
        parsed.attributes.append((where, target, (name, value or "")))
    else:
        report.problem(where, "bad_line")


def _parse_event(match: re.Match[str], where: str, parsed: _Parsed, report: ReadReport) -> None:
    event, trigger, arguments = match.groups()
    if event in parsed.events:
        report.problem(where, "bad_line")
        return
    report.count("event")
    parsed.events[event] = where, trigger
    for argument in arguments.split():
        role, _, target = argument.rpartition(":")
        label = role.rstrip("0123456789") or role
        parsed.draft.relations.append(DraftRelation(where, trigger, target, label))


def _mark_by_rule(parsed: _Parsed, report: ReadReport) -> None:
    """Mark what the annotator's notes name; one that names nothing is a comment like others."""
    draft = parsed.draft
    for key in parsed.by_rule:
        if key in draft.entities:
            where, entity = draft.entities[key]
            draft.entities[key] = where, replace(entity, by_rule=True)
        for position in parsed.relations.get(key, ()):
            draft.relations[position] = replace(draft.relations[position], by_rule=True)
        report.count("comment", key not in draft.entities and key not in parsed.relations)


def _entity_line(number: int, entity: Entity) -> str:
    fragments = _fragments(entity)
    if not fragments:
        raise DataError(f"entity {entity.start}-{entity.end} is but line breaks: brat has no such")
    offsets = ";".join(f"{start} {end}" for start, end in fragments)
    texts = (entity.text[start - entity.start : end - entity.start] for start, end in fragments)
    return f"T{number}\t{_token(entity.label)} {offsets}\t{' '.join(texts)}"


def _fragments(entity: Entity) -> list[tuple[int, int]]:
    """Return what of an entity's pieces stands between line breaks, as start and end."""
    fragments = []
    for piece in entity.pieces or (entity.span,):
        first, last = piece.start - entity.start, piece.end - entity.start
        breaks = [match.span() for match in LINE_BREAK.finditer(entity.text, first, last)]
        starts = [first, *(end for _, end in breaks)]
        ends = [*(start for start, _ in breaks), last]
        fragments += [(a, b) for a, b in zip(starts, ends, strict=True) if a < b]
    return [(entity.start + a, entity.start + b) for a, b in fragments]


def _token(label: str) -> str:
    if not label or re.search(r"\s", label):
        raise DataError("brat cannot hold an empty label or name, or one with white space")
    return label


def _value(value: str) -> str:
    if value != value.translate(ONE_LINE).strip():
        raise DataError("brat cannot hold an attribute value with tabs, line breaks or outer space")
    return value
