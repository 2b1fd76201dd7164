"""What every reader returns: gold notes, and a report of what had to be changed or left out.

Reasons that are counted, and listed among the problems with file and line:

    bad_line              breaks the format, or repeats an id: left out
    lone_surrogate        half of a UTF-16 pair, which is no character: the note is left out
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
    relation_turned       the label set allows the other direction only: turned round
    discontinuous         an entity in pieces: kept as its covering span, pieces kept
    overlapping           an entity that starts inside an earlier one of its layer: kept
    event                 its arguments became relations from its trigger
    symmetric_relation, normalization, comment, concept_relation   not read
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Entity, Note, Relation, Span, entity_at
from spanlake.errors import DataError, OffsetError

# What ends a line, or a column, for some reader of text files; each becomes one space.
LINE_ENDS = "\t\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
ONE_LINE = str.maketrans(dict.fromkeys(LINE_ENDS, " "))
SURROGATE = re.compile("[\ud800-\udfff]")
LONE_SURROGATE = "a lone surrogate, which is no character: mend the text where it was made"
LINE_BREAK = re.compile(rf"\s*[{LINE_ENDS}]\s*")  # with the white space around it


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

    def named(self, what: str) -> ReadReport:
        """Return the report with `what` before the place of every problem."""
        return ReadReport(self.counts.copy(), [f"{what}{problem}" for problem in self.problems])


@dataclass(frozen=True, slots=True)
class DraftRelation:
    """A relation as its file has it: where it stands, and the ids of its head and tail."""

    where: str
    head: str
    tail: str
    label: str
    score: float | None = None
    by_rule: bool = False


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


def files_by_name(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the folder's files that end in `suffix`, in either case, by name, in order.

    A link to nothing is one of them, so that it is named when it is read. Raises DataError for
    names that differ in the case of their suffix only.
    """
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() == suffix and (path.is_file() or not path.exists())
    ]
    names = Counter(path.stem for path in paths)
    if len(names) < len(paths):
        twice = ", ".join(name for name, count in names.items() if count > 1)
        raise DataError(
            f"{folder}: names that differ in {suffix} and {suffix.upper()} only: {twice}."
            " Rename one"
        )
    return {path.stem: path for path in paths}


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Return a file's text, newlines untranslated; raises DataError if it cannot."""
    try:
        return decoded(path.read_bytes(), encoding)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, where a file is needed") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError as error:  # its message is harmless, its `object` is the whole note
        name = "UTF-8" if error.encoding == "utf-8" else encoding
        raise DataError(
            f"{path.name}: not {name} at byte {error.start}: save it as UTF-8"
        ) from None
    except UnicodeEncodeError:
        raise DataError(f"{path.name}: {LONE_SURROGATE}") from None


def decoded(data: bytes, encoding: str) -> str:
    """Return a file's text; a byte order mark of UTF-8 is a character, as for whoever counts.

    Raises UnicodeDecodeError, and UnicodeEncodeError where the text holds a lone surrogate.
    """
    text = data.decode("utf-8" if encoding == "utf-8-sig" else encoding)
    if encoding not in ("utf-8", "utf-8-sig"):  # utf-7, for one, can hold surrogates
        text.encode("utf-8")
    return text


def encoded(text: str, note_id: str) -> bytes:
    """Return a text as UTF-8; raises DataError that names the note for a lone surrogate."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"note {note_id!a}: {LONE_SURROGATE}") from None


def has_surrogate(text: str) -> bool:
    """Tell whether a text holds half of a UTF-16 pair, which no UTF-8 file can."""
    return SURROGATE.search(text) is not None


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
    white space at its end is not looked at. WordTokenizer that only a line break parts are one.
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
    spans = without_line_breaks(note_text, spans)
    if len(spans) == 1:
        return entity
    report.count("discontinuous")
    return replace(entity, pieces=spans)


def without_line_breaks(note_text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the pieces of an entity, those joined that a line break alone parts.

    brat writes an entity that runs over a line end so: it is in one piece all the same.
    """
    joined = list(spans[:1])
    for span in spans[1:]:
        last = joined[-1]
        if last.end < span.start and LINE_BREAK.fullmatch(note_text, last.end, span.start):
            joined[-1] = Span(last.start, span.end)
        else:
            joined.append(span)
    return tuple(joined)


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
        settled = _relation(drawn, draft, position, entities, labels)
        if (
            isinstance(settled, Relation)
            and (settled.head, settled.tail, settled.label) in relations
        ):
            settled = "duplicate_relation"
        if isinstance(settled, str):
            report.problem(drawn.where, settled)
        else:
            report.count("relation_renamed", settled.label != drawn.label)
            report.count("relation_turned", settled.head != position[drawn.head])
            relations[settled.head, settled.tail, settled.label] = settled
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
        return Relation(head, tail, drawn.label, drawn.score, drawn.by_rule)
    label = labels.relation_aliases.get(drawn.label, drawn.label)
    if label not in labels.relations:
        return "unknown_relation"
    ends = entities[head].label, entities[tail].label
    if not labels.allows(*ends):
        if not labels.allows(*reversed(ends)):
            return "relation_not_allowed"
        head, tail = tail, head
    return Relation(head, tail, label, drawn.score, drawn.by_rule)


def _overlapping(entities: Sequence[Entity], labels: LabelSet | None) -> int:
    ends: dict[str, int] = {}
    count = 0
    for entity in sorted(entities, key=lambda e: e.span):
        layer = labels.layer_of(entity.label) if labels else "main"
        count += entity.start < ends.get(layer, 0)
        ends[layer] = max(entity.end, ends.get(layer, 0))
    return count


def _comparable(text: str) -> str:
    return text.translate(ONE_LINE).rstrip()
