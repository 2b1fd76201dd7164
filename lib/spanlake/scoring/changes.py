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

    `run_label` and `baseline_label` are the label of the prediction that stands for it, at its very
    place or overlapping it; None where there is none.
    """

    change: Change
    entity: Key
    run_label: str | None
    baseline_label: str | None


def changes(
    run: Iterable[ScoredNote], baseline: Iterable[ScoredNote], labels: LabelSet
) -> list[Changed]:
    """Return what `run` has otherwise than `baseline`; both are of the same gold notes.

    `won`: a gold entity that only the run has strictly, `lost`: that only the baseline has;
    `relabelled`: both miss it and predict there, under different labels; `spurious`: a prediction
    without a gold counterpart (`core.mistakes`) that came with the run, or went.
    """
    missed, spurious = _wrong(run, labels)
    before, spurious_before = _wrong(baseline, labels)
    entity_changes = [_change(key, missed, before) for key in missed.keys() | before.keys()]
    came, went = spurious - spurious_before, spurious_before - spurious
    spurious_changes = [Changed("spurious came", key, key.label, None) for key in came]
    spurious_changes += [Changed("spurious went", key, None, key.label) for key in went]
    return sorted(
        [changed for changed in entity_changes if changed] + spurious_changes,
        key=lambda changed: changed.entity,
    )


def change_rows(changed: Iterable[Changed]) -> list[dict[str, object]]:
    """Return a row a change for a file: no note text."""
    return [
        {
            "change": row.change,
            **row.entity._asdict(),
            "ours": row.run_label,
            "theirs": row.baseline_label,
        }
        for row in changed
    ]


def change_lines(changed: Iterable[Changed]) -> str:
    """Return a printed table of counts by label; ends with a newline."""
    counts = Counter((row.entity.label, row.change) for row in changed)
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
        for mistake in mistakes(note.gold.annotation, note.predicted, labels):
            if mistake.gold:
                missed[_key(note, mistake.gold)] = (
                    mistake.predicted.label if mistake.predicted else None
                )
            else:
                spurious.add(_key(note, mistake.entity))
    return missed, spurious


def _change(
    key: Key, missed: Mapping[Key, str | None], before: Mapping[Key, str | None]
) -> Changed | None:
    run_label, baseline_label = missed.get(key, key.label), before.get(key, key.label)
    if key not in missed:
        return Changed("won", key, run_label, baseline_label)
    if key not in before:
        return Changed("lost", key, run_label, baseline_label)
    relabelled = run_label and baseline_label and run_label != baseline_label
    return Changed("relabelled", key, run_label, baseline_label) if relabelled else None


def _key(note: ScoredNote, entity: Entity) -> Key:
    return Key(note.note_id, *entity.key)
