"""What one run has otherwise than another on the same gold: entity by entity, ids and offsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity
from spanlake.scoring.mistakes import mistakes
from spanlake.scoring.score_extractor import ScoredNote

Change = Literal["won", "lost", "relabelled", "spurious came", "spurious went"]
CHANGES: tuple[Change, ...] = ("won", "lost", "relabelled", "spurious came", "spurious went")


class Key(NamedTuple):
    """An entity of a note."""

    note_id: str
    start: int
    end: int
    label: str


class Changed(NamedTuple):
    """A gold entity or a spurious one (`entity`), and the labels that the runs give it.

    `ours` and `theirs` are the label of the prediction that stands for it, at its very place or
    overlapping it; None where there is none.
    """

    change: Change
    entity: Key
    ours: str | None
    theirs: str | None


def changes(
    ours: Iterable[ScoredNote], theirs: Iterable[ScoredNote], labels: LabelSet
) -> list[Changed]:
    """Return what `ours` has otherwise than `theirs`; both are of the same gold notes.

    `won`: a gold entity that only ours has strictly, `lost`: that only theirs has; `relabelled`:
    both miss it and predict there, under different labels; `spurious`: a prediction without a gold
    counterpart (`core.mistakes`) that came with ours, or went.
    """
    missed, spurious = _wrong(ours, labels)
    before, spurious_before = _wrong(theirs, labels)
    found = [_change(key, missed, before) for key in missed.keys() | before.keys()]
    came, went = spurious - spurious_before, spurious_before - spurious
    spurious_changes = [Changed("spurious came", key, key.label, None) for key in came]
    spurious_changes += [Changed("spurious went", key, None, key.label) for key in went]
    return sorted([one for one in found if one] + spurious_changes, key=lambda one: one.entity)


def change_rows(found: Iterable[Changed]) -> list[dict[str, object]]:
    """Return a row a change for a file: no note text."""
    return [
        {"change": one.change, **one.entity._asdict(), "ours": one.ours, "theirs": one.theirs}
        for one in found
    ]


def change_lines(found: Iterable[Changed]) -> str:
    """Return a printed table of counts by label; ends with a newline."""
    counts = Counter((one.entity.label, one.change) for one in found)
    lines = [_line("entities", CHANGES)]
    for label in sorted({label for label, _ in counts}):
        lines.append(_line(f"  {label}", [str(counts[label, change]) for change in CHANGES]))
    return "\n".join(lines) + "\n"


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<18}" + "".join(f"{cell:>15}" for cell in cells)


def _wrong(
    notes: Iterable[ScoredNote], labels: LabelSet
) -> tuple[Mapping[Key, str | None], set[Key]]:
    """Return the missed gold entities with the label that stands for each, and the spurious."""
    missed: dict[Key, str | None] = {}
    spurious: set[Key] = set()
    for note in notes:
        for one in mistakes(note.gold.annotation, note.predicted, labels):
            if one.gold:
                missed[_key(note, one.gold)] = one.predicted.label if one.predicted else None
            else:
                spurious.add(_key(note, one.entity))
    return missed, spurious


def _change(
    key: Key, missed: Mapping[Key, str | None], before: Mapping[Key, str | None]
) -> Changed | None:
    ours, theirs = missed.get(key, key.label), before.get(key, key.label)
    if key not in missed:
        return Changed("won", key, ours, theirs)
    if key not in before:
        return Changed("lost", key, ours, theirs)
    relabelled = ours and theirs and ours != theirs
    return Changed("relabelled", key, ours, theirs) if relabelled else None


def _key(note: ScoredNote, entity: Entity) -> Key:
    return Key(note.note_id, *entity.key)
