"""What every reader returns: gold notes, and a report of what had to be changed or left out.

Reasons that are counted, and listed among the problems with file and line:

    bad_line              breaks the format, or repeats an id: left out
    offsets_outside       an entity's offsets leave the note: left out
    text_mismatch         an entity's stated text is not the note's there: kept, offsets win
    unknown_label         not in the label set: left out
    unknown_relation      not in the label set: left out
    relation_not_allowed  the label set has no such pair: left out
    dangling_relation     names an entity that was not read: left out
    dangling_event        names a trigger that was not read: left out
    dangling_attribute    names neither a read entity nor an event: left out
    lost_relation         the label set made one of its entities be left out
    duplicate_relation    same head, tail and label as an earlier one: left out
    illegal_tag           an I- tag without its own label before it: opens an entity

Reasons that are only counted:

    label_renamed, relation_renamed   an alias of the label set was applied
    discontinuous         an entity in pieces: kept as its covering span, pieces kept
    overlapping           an entity that starts inside an earlier one of its layer: kept
    event                 its arguments became relations from its trigger
    symmetric_relation, normalization, comment, concept_relation   not read
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spanlake.core.errors import DataError, OffsetError
from spanlake.core.labels import LabelSet
from spanlake.core.spans import Annotation, Entity, Relation, Span, entity_at
from spanlake.core.units import Note

# What ends a line, or a column, for some reader of text files; each becomes one space.
ONE_LINE = str.maketrans(dict.fromkeys("\t\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", " "))


@dataclass(frozen=True, slots=True)
class GoldNote:
    """A note with what people annotated in it; entity offsets are note-absolute, and checked."""

    note: Note
    annotation: Annotation

    def __post_init__(self) -> None:
        self.annotation.check(self.note.note_text)


@dataclass(slots=True)
class ReadReport:
    """Counts by reason, and "file:line: reason" for what was left out or doubted; no note text."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def count(self, reason: str, times: int = 1) -> None:
        """Count something that needs no one's attention."""
        if times:
            self.counts[reason] += times

    def problem(self, where: str, reason: str) -> None:
        """Count something and remember where ("file:line") it stands."""
        self.count(reason)
        self.problems.append(f"{where}: {reason}")

    @property
    def reasons(self) -> Counter[str]:
        """The problems by reason; what is only counted is not among them."""
        return Counter(problem.rsplit(": ", 1)[-1] for problem in self.problems)

    def add(self, other: ReadReport) -> None:
        """Take in another file's report."""
        self.counts.update(other.counts)
        self.problems.extend(other.problems)


@dataclass(frozen=True, slots=True)
class DraftRelation:
    """A relation as its file has it: where it stands, and the ids of its head and tail."""

    where: str
    head: str
    tail: str
    label: str
    score: float | None = None


@dataclass(slots=True)
class Draft:
    """One note's annotation as its file has it; entities by id, each with where it stands."""

    entities: dict[str, tuple[str, Entity]] = field(default_factory=dict)
    relations: list[DraftRelation] = field(default_factory=list)

    def add(self, key: str, where: str, entity: Entity | None, report: ReadReport) -> None:
        """Keep an entity under its id; a second one of that id is a bad line. None is ignored."""
        if entity is None:
            return
        if key in self.entities:
            report.problem(where, "bad_line")
        else:
            self.entities[key] = where, entity


def require_folder(path: Path, holding: str) -> None:
    """Raise DataError that says what the folder should hold, unless it is there."""
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; give the one that holds the {holding}")


def read_text(path: Path) -> str:
    """Return a UTF-8 file's text, newlines untranslated; raises DataError if it cannot."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, where a file is needed") from None
    except UnicodeDecodeError as error:  # its message is harmless, its `object` is the whole note
        raise DataError(f"{path.name}: not UTF-8 at byte {error.start}: save it as UTF-8") from None


def lines_of(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield ("name:number", line); only LF and CRLF end a line, form feeds and the like do not."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        yield f"{name}:{number}", line.removesuffix("\r")


def file_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("file name:number", line) of a UTF-8 file."""
    return lines_of(read_text(path), path.name)


def place(
    note_text: str,
    pieces: Sequence[tuple[int, int]],
    label: str,
    stated: str | None,
    where: str,
    report: ReadReport,
) -> Entity | None:
    """Return the entity at `pieces` of the note, or None when there is no such place (reported).

    `stated` is the text that the file gives; line breaks count as spaces in the comparison, and
    white space at its end is not looked at.
    """
    try:
        spans = tuple(Span(start, end) for start, end in pieces)
        last = max(span.end for span in spans)
        entity = entity_at(note_text, min(spans).start, last, label)
    except DataError as error:
        outside = isinstance(error, OffsetError)
        report.problem(where, "offsets_outside" if outside else "bad_line")
        return None
    there = " ".join(note_text[span.start : span.end] for span in spans)
    if stated is not None and _comparable(stated) != _comparable(there):
        report.problem(where, "text_mismatch")
    if len(spans) == 1:
        return entity
    report.count("discontinuous")
    return replace(entity, pieces=spans)


def settle(draft: Draft, labels: LabelSet | None, report: ReadReport) -> Annotation:
    """Return the draft under a label set (None: every label is kept as it is)."""
    position: dict[str, int] = {}  # of an entity's id among the kept ones
    entities: list[Entity] = []
    for key, (where, entity) in draft.entities.items():
        label = entity.label if labels is None else labels.aliases.get(entity.label, entity.label)
        if labels is not None and label not in labels.labels:
            report.problem(where, "unknown_label")
            continue
        report.count("label_renamed", label != entity.label)
        position[key] = len(entities)
        entities.append(replace(entity, label=label))
    report.count("overlapping", _overlapping(entities, labels))
    relations: dict[tuple[int, int, str], Relation] = {}
    for drawn in draft.relations:
        found = _relation(drawn, draft, position, entities, labels)
        if isinstance(found, Relation) and (found.head, found.tail, found.label) in relations:
            found = "duplicate_relation"
        if isinstance(found, str):
            report.problem(drawn.where, found)
        else:
            report.count("relation_renamed", found.label != drawn.label)
            relations[found.head, found.tail, found.label] = found
    return Annotation(tuple(entities), tuple(relations.values()))


def _relation(
    drawn: DraftRelation,
    draft: Draft,
    position: Mapping[str, int],
    entities: Sequence[Entity],
    labels: LabelSet | None,
) -> Relation | str:
    """Return the relation, or the reason why it is left out."""
    if drawn.head not in draft.entities or drawn.tail not in draft.entities:
        return "dangling_relation"
    if drawn.head not in position or drawn.tail not in position:
        return "lost_relation"
    head, tail = position[drawn.head], position[drawn.tail]
    if labels is None:
        return Relation(head, tail, drawn.label, drawn.score)
    label = labels.relation_aliases.get(drawn.label, drawn.label)
    if label not in labels.relations:
        return "unknown_relation"
    if not labels.allows(entities[head].label, entities[tail].label):
        return "relation_not_allowed"
    return Relation(head, tail, label, drawn.score)


def _overlapping(entities: Sequence[Entity], labels: LabelSet | None) -> int:
    ends: dict[str, int] = {}
    found = 0
    for entity in sorted(entities, key=lambda e: e.span):
        layer = labels.layer_of(entity.label) if labels else "main"
        found += entity.start < ends.get(layer, 0)
        ends[layer] = max(entity.end, ends.get(layer, 0))
    return found


def _comparable(text: str) -> str:
    return text.translate(ONE_LINE).rstrip()
