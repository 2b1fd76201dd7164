"""What a model marks and no reader would: bullets, table bars, values of another row or column.

The tagger has learnt from dictated prose. In lists and tables it takes bullets for findings, and a
reference range for the value beside it. Everything here looks at characters and at the layout of
lines; what is left out is counted by reason.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Entity, Relation, Span

# Bullets, bars, list numbers, boxes and cues before a main entity, and what may stand behind it.
LEAD = re.compile(
    r"(?:[-–—*•·▪►●○#>|☐☑☒□■✓?:;,./\\]|\[[ xX]?\]|\([ xX]\)|_{2,}|\(?\d{1,2}[.)](?=\s)|\s"
    r"|(?:r/o|R/O|neg|NEG)\b\.?(?=\s))+"
)
TRAIL = re.compile(
    r"(?:[\s|:;,•–—-]|[(\[]\s*(?:[-+−–?xX]|neg|pos)?\s*[)\]]|(?<=\s)[-+]ve|[☐☑☒□■✓])+$"
)
# What parts one cell or box from the next; a main entity lies on one side of it.
PARTING = re.compile(r"[|\t☐☑☒□■]|\[[ xX]?\]|(?<=\S)[ ]{3,}(?=\S)")
# Modifiers without a letter or digit that mean something, by label.
SIGNS = {
    "negation": frozenset(("(-)", "-", "−", "[-]", "[ ]", "[]", "( )", "☐")),
    "uncertain": frozenset(("?", "??", "???", "(?)", "+/-")),
    "labvalue": frozenset(("+", "++", "+++", "-", "−", "(+)", "(-)", "+/-", "↑", "↓")),
    "course": frozenset(("↑", "↓")),
    "severity": frozenset(("+", "++", "+++")),
}
BULLET_LINE = re.compile(r"[^\S\n]*[-−]\s")
FLAG = re.compile(r"(?:H|L|HH|LL|A|N|C)[*!]?")
MODIFIER_CELL = re.compile(r"[^|\t\s](?:[^|\t]*[^|\t\s])?")
ALNUM = re.compile(r"[^\W_]")
CELL = re.compile(r"[^|\t]+?(?=\||\t|  |$)")
NUMBER = re.compile(r"[<>≤≥=~ ]{0,3}\d")
RANGE = re.compile(
    r"[(\[]?\s*(?:[<>≤≥]=?\s*\d[\d.,]*|\d[\d.,]*\s*(?:-|–|—|to)\s*\d[\d.,]*)", re.IGNORECASE
)
REFERENCE = re.compile(r"\b(?:ref(?:erence)?|range|normal|limits?|interval)\b", re.IGNORECASE)
VALUE, REFERENCE_RANGE = "labvalue", "reference_range"


@dataclass(frozen=True, slots=True)
class Cleaned:
    """An annotation without what is none, and how many entities and relations went, by reason."""

    annotation: Annotation
    index: tuple[int, ...]
    undecided: tuple[Relation, ...]
    dropped: Mapping[str, int]


def clean(
    note_text: str,
    annotation: Annotation,
    index: Sequence[int],
    undecided: Sequence[Relation],
    labels: LabelSet,
) -> Cleaned:
    """Return a model's annotation of a note without bullets and with values in their own cells.

    `index` holds the sentence of every entity. A main entity is cut to what is no bullet, table bar
    or list number, and needs a letter; a modifier needs a letter or digit, or is a sign that means
    something. In tables, relations stay within a row, and a labvalue in the column of reference
    ranges becomes a `reference_range` by rule. Offsets are note-absolute.
    """
    dropped: Counter[str] = Counter()
    rows = TableRows(note_text)
    kept: list[tuple[int, Entity]] = []  # the number that an entity had, and what is left of it
    for i, entity in enumerate(annotation.entities):
        main = entity.label in labels.main
        parts = _parts(entity, rows, dropped) if main else _modifier(entity, rows, dropped)
        kept += [(i, part) for part in parts]
    entities = _values_in_columns([entity for _, entity in kept], rows, labels)
    places: dict[int, list[int]] = {}
    for new, (old, _) in enumerate(kept):
        places.setdefault(old, []).append(new)

    def moved(relations: Sequence[Relation], counted: Counter[str]) -> Iterator[Relation]:
        for relation in relations:
            if relation.head not in places or relation.tail not in places:
                continue
            tail = places[relation.tail][0]
            head = min(places[relation.head], key=lambda i: _distance(entities[i], entities[tail]))
            if rows.other_row(entities[head].start, entities[tail].start):
                counted["relation_across_table_rows"] += 1
            elif labels.allows(entities[head].label, entities[tail].label):
                new = replace(relation, head=head, tail=tail)
                yield replace(new, score=None, by_rule=True) if entities[tail].by_rule else new

    relations = tuple(moved(annotation.relations, dropped))
    return Cleaned(
        Annotation(tuple(entities), relations),
        tuple(index[old] for old, _ in kept),
        tuple(moved(undecided, Counter())),
        dict(dropped),
    )


def _distance(entity: Entity, other: Entity) -> int:
    return max(entity.start - other.end, other.start - entity.end)


def _parts(entity: Entity, rows: TableRows, dropped: Counter[str]) -> list[Entity]:
    """Return a main entity cell by cell, without bullets; nothing is left of what has no letter."""
    edges = [(match.start(), match.end()) for match in PARTING.finditer(entity.text)]
    starts, ends = [0, *(end for _, end in edges)], [*(start for start, _ in edges), None]
    parts = []
    for start, end in zip(starts, ends, strict=True):
        text = entity.text[start:end]
        lead = LEAD.match(text)
        start += lead.end() if lead else 0
        text = _without_trail(text[lead.end() if lead else 0 :])
        if any(letter.isalpha() for letter in text):
            span = Span(entity.start + start, entity.start + start + len(text))
            if FLAG.fullmatch(text) and rows.is_flag(span.start):
                dropped["flag_of_a_table"] += 1
            else:
                parts.append(replace(entity, span=span, text=text))
    if not any(letter.isalpha() for letter in entity.text):
        dropped["main_without_letter"] += 1
    return parts


def _without_trail(text: str) -> str:
    """Return a main entity's text without what may stand behind it, in steps: linear time."""
    while match := TRAIL.search(text, max(0, len(text) - 100)):
        text = text[: match.start()]
    return text


def _modifier(entity: Entity, rows: TableRows, dropped: Counter[str]) -> list[Entity]:
    """Return a modifier if it has a letter or digit, or is a sign that means something.

    Of one that reaches over the bar or tab of a table, its first cell with a letter or digit stays.
    """
    if any(letter.isalnum() for letter in entity.text):
        cell = next(
            match for match in MODIFIER_CELL.finditer(entity.text) if ALNUM.search(match.group())
        )
        start = entity.start + cell.start()
        span = Span(start, start + len(cell.group()))
        return [replace(entity, span=span, text=cell.group())]
    sign = "".join(entity.text.split()) or entity.text
    bullet = sign in "-−" and rows.is_bullet(entity.start)
    if bullet or not {sign, entity.text} & SIGNS.get(entity.label, frozenset()):
        dropped["modifier_without_letter_or_digit"] += 1
        return []
    return [entity]


class TableRows:
    """The lines of a note that are rows of tables: split into cells by bars, tabs or wide gaps."""

    def __init__(self, note_text: str) -> None:
        self.text = note_text
        self.starts = [0, *(match.end() for match in re.finditer("\n", note_text))]
        self._cells: dict[int, list[Span]] = {}

    def line(self, place: int) -> tuple[int, int]:
        """Return the line that holds a place, without the line break."""
        at = bisect_right(self.starts, place)
        end = self.starts[at] - 1 if at < len(self.starts) else len(self.text)
        return self.starts[at - 1], end

    def cells(self, place: int) -> list[Span]:
        """Return the cells of the line at a place that hold more than white space."""
        start, end = self.line(place)
        if start not in self._cells:
            matches = CELL.finditer(self.text, start, end)
            self._cells[start] = [_stripped(match) for match in matches if match.group().strip()]
        return self._cells[start]

    def _column(self, place: int) -> int:
        """Return the number of the cell that holds a place; 0 where none does."""
        cells = enumerate(self.cells(place))
        return next((i for i, cell in cells if cell.start <= place < cell.end), 0)

    def is_row(self, place: int) -> bool:
        """Tell whether the line at a place is a row: it has a number behind its first cell."""
        cells = self.cells(place)
        return len(cells) > 1 and any(NUMBER.match(self.text, c.start) for c in cells[1:])

    def is_bullet(self, place: int) -> bool:
        start, _ = self.line(place)
        match = BULLET_LINE.match(self.text, start)
        return match is not None and start <= place < match.end()

    def is_flag(self, place: int) -> bool:
        """Tell whether a place lies in a cell of its own, behind one with a number."""
        cells, at = self.cells(place), self._column(place)
        alone = at > 0 and FLAG.fullmatch(self.text, cells[at].start, cells[at].end) is not None
        return alone and any(NUMBER.match(self.text, cell.start) for cell in cells[1:at])

    def other_row(self, place: int, other: int) -> bool:
        """Tell whether two places lie in different rows of tables."""
        if "\n" not in self.text[min(place, other) : max(place, other)]:
            return False
        return self.is_row(place) and self.is_row(other)

    def is_reference(self, span: Span) -> bool:
        """Tell whether a value stands in the column of reference ranges.

        A line above says so, or the cell holds a range and one before it in its row a number.
        """
        cells, at = self.cells(span.start), self._column(span.start)
        if at < 1 or not any(NUMBER.match(self.text, cell.start) for cell in cells[1:at]):
            return False
        if RANGE.match(self.text, span.start) and cells[at].start == span.start:
            return True
        return self._below_reference(at, len(cells), span.start)

    def _below_reference(self, column: int, width: int, place: int) -> bool:
        """Tell whether the nearest header above names the column, counted from either end."""
        number = bisect_right(self.starts, place) - 2
        for start in reversed(self.starts[max(0, number - 40) : number + 1]):
            cells = self.cells(start)
            if len(cells) < 2:
                return False
            if any(NUMBER.match(self.text, cell.start) for cell in cells):
                continue
            named = [i for i, c in enumerate(cells) if REFERENCE.search(self.text, c.start, c.end)]
            return any(i == column or len(cells) - i == width - column for i in named)
        return False


def _stripped(match: re.Match[str]) -> Span:
    cell = match.group()
    start = match.start() + len(cell) - len(cell.lstrip())
    return Span(start, start + len(cell.strip()))


def _values_in_columns(
    entities: Sequence[Entity], rows: TableRows, labels: LabelSet
) -> list[Entity]:
    """Return the entities with ranges as `reference_range`; a value ends before a range's cell."""
    if not {VALUE, REFERENCE_RANGE} <= set(labels.modifier):
        return list(entities)
    cleaned = []
    for entity in entities:
        if entity.label == VALUE and rows.is_row(entity.start):
            if rows.is_reference(entity.span):
                whole = RANGE.match(rows.text, entity.start)
                span = Span(entity.start, max(entity.end, whole.end() if whole else 0))
                text = rows.text[span.start : span.end]
                entity = Entity(span, REFERENCE_RANGE, text, None, by_rule=True)
            else:
                entity = _without_range(entity, rows)
        cleaned.append(entity)
    return cleaned


def _without_range(entity: Entity, rows: TableRows) -> Entity:
    """Return a value without the cell of its range."""
    cells = [c for c in rows.cells(entity.start) if entity.start < c.start < entity.end]
    later = [c for c in cells if rows.is_reference(c)]
    if not later:
        return entity
    text = rows.text[entity.start : later[0].start].rstrip(" \t|")
    return Entity(Span(entity.start, entity.start + len(text)), VALUE, text, entity.score)
