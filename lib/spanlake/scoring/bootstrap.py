"""How sure a score is: notes are drawn anew, with replacement, and the score is taken again.

Notes, not entities, are what is drawn: entities of one note are right or wrong together. A
comparison draws the same notes for both models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from spanlake.errors import DataError
from spanlake.scoring.counts import Counts, Scores

ROUNDS = 10_000
SEED = 42
TAILS = (2.5, 97.5)  # per cent: a 95 % interval

Ratio = Literal["f1", "recall"]
RATIOS: dict[str, Ratio] = {
    "main strict F1": "f1",
    "main relaxed F1": "f1",
    "main 3+ words recall": "recall",
    "modifiers strict F1": "f1",
    "relations strict F1": "f1",
    "relations gold entities F1": "f1",
}
SAME_GOLD = ("main strict F1", "modifiers strict F1", "relations strict F1")
NoteCounts = Mapping[str, Counts]  # by measure


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval; all in ratios, None where undefined."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and self.low * self.high > 0


def measures(scores: Scores) -> dict[str, Counts]:
    """Return the counts of what is compared, by the names of `RATIOS`."""
    main, modifiers = scores.entities, scores.modifiers
    return {
        "main strict F1": main.micro.strict,
        "main relaxed F1": main.micro.relaxed,
        "main 3+ words recall": main.lengths["3+"],
        "modifiers strict F1": modifiers.micro.strict,
        "relations strict F1": scores.relations_strict,
        "relations gold entities F1": scores.gold_entities or Counts(),
    }


def intervals(notes: Mapping[str, NoteCounts]) -> dict[str, Interval]:
    """Return each measure over all notes, with its interval."""
    return {name: _interval(_values(_table(notes, name), ratio)) for name, ratio in RATIOS.items()}


def differences(
    run: Mapping[str, NoteCounts], baseline: Mapping[str, NoteCounts]
) -> dict[str, Interval]:
    """Return what each measure gains from `baseline` to `run`, paired by note.

    Raises DataError when the two do not hold the same notes, or were scored on another gold.
    """
    if run.keys() != baseline.keys():
        raise DataError(
            f"the two runs hold different notes: {len(run.keys() - baseline.keys())} only in the"
            f" first, {len(baseline.keys() - run.keys())} only in the second"
        )
    _check_gold(run, baseline)
    return {
        name: _interval(_values(_table(run, name), ratio) - _values(_table(baseline, name), ratio))
        for name, ratio in RATIOS.items()
    }


def _check_gold(run: Mapping[str, NoteCounts], baseline: Mapping[str, NoteCounts]) -> None:
    for name in SAME_GOLD:
        run_gold, baseline_gold = (
            _table(notes, name)[:, [0, 2]].sum(axis=1) for notes in (run, baseline)
        )
        if (run_gold != baseline_gold).any():
            raise DataError(
                f"the two runs were scored on different gold: {name},"
                f" {(run_gold != baseline_gold).sum()} notes"
            )


def _table(notes: Mapping[str, NoteCounts], name: str) -> np.ndarray:
    """Return ``[notes, 3]`` counts, in the order of the notes' ids."""
    if not notes:
        raise DataError("no notes to score")
    rows = [notes[note_id][name] for note_id in sorted(notes)]
    return np.array([(counts.tp, counts.fp, counts.fn) for counts in rows], dtype=np.int64).reshape(
        -1, 3
    )


def _values(table: np.ndarray, ratio: Ratio) -> np.ndarray:
    """Return the ratio of all notes, then that of each drawn sample; nan where undefined."""
    count = len(table)
    # How often each note is drawn: the same for every measure, and for both runs of a comparison.
    drawn = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), ROUNDS)
    sums = np.concatenate([table.sum(axis=0)[None], drawn @ table])
    tp, fp, fn = sums.T
    with np.errstate(invalid="ignore"):
        return tp / (tp + fn) if ratio == "recall" else 2 * tp / (2 * tp + fp + fn)


def _interval(values: np.ndarray) -> Interval:
    value = float(values[0]) if np.isfinite(values[0]) else None
    if not np.isfinite(values[1:]).all():
        return Interval(value, None, None)
    low, high = np.percentile(values[1:], TAILS)
    return Interval(value, float(low), float(high))


def lines(by_measure: Mapping[str, Interval], *, signed: bool = False) -> str:
    """Return a line a measure: its value in points, its interval, a star where 0 is outside."""
    sign = "+" if signed else ""
    return "\n".join(_line(name, interval, sign) for name, interval in by_measure.items())


def _line(name: str, interval: Interval, sign: str) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        value = "-" if interval.value is None else format(100 * interval.value, f"{sign}.1f")
        why = "not scored" if interval.value is None else "no interval: undefined in some samples"
        return f"{name:<28}{value:>8}  [{why}]"
    value, low, high = (
        format(100 * x, f"{sign}.1f") for x in (interval.value, interval.low, interval.high)
    )
    return f"{name:<28}{value:>8}  [{low}, {high}]{' *' * bool(sign and interval.excludes_zero)}"


def write_notes(notes: Mapping[str, NoteCounts], path: Path) -> None:
    """Write the counts of every note as JSON: note id, measure, [tp, fp, fn]."""
    content = {
        note_id: {
            name: [measure_counts.tp, measure_counts.fp, measure_counts.fn]
            for name, measure_counts in counts.items()
        }
        for note_id, counts in notes.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_notes(path: Path) -> dict[str, NoteCounts]:
    """Read what `write_notes` wrote; raises DataError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            note_id: {name: Counts(*counts[name]) for name in RATIOS}
            for note_id, counts in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: no counts by note ({type(error).__name__}): a file of evaluate --notes is"
            " needed, or --gold and two folders of .ann"
        ) from None


def of_notes(scores: Mapping[str, Scores]) -> dict[str, NoteCounts]:
    """Return the measures' counts by note id."""
    return {note_id: measures(note_scores) for note_id, note_scores in scores.items()}
