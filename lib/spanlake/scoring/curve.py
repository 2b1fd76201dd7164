"""A learning curve: scores by the number of notes that were learnt from, as table, CSV and SVG."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from spanlake.scoring.bootstrap import Interval, NoteCounts, intervals
from spanlake.scoring.counts import Counts
from spanlake.scoring.reliability import SIDE, side_by_side

COLUMNS = ("notes", "measure", "precision", "recall", "f1", "low", "high")


@dataclass(frozen=True, slots=True)
class Point:
    """What a model that learnt from `notes` notes reaches of a measure (`scoring.bootstrap`)."""

    measure: str
    notes: int
    counts: Counts
    interval: Interval


def points(curve: Mapping[int, Mapping[str, NoteCounts]]) -> list[Point]:
    """Return the points by measure and size; `curve` holds counts by size, then by scored note."""
    found = [
        Point(name, size, sum((one[name] for one in notes.values()), Counts()), interval)
        for size, notes in sorted(curve.items())
        for name, interval in intervals(notes).items()
    ]
    measures = list(dict.fromkeys(one.measure for one in found))
    return sorted(found, key=lambda one: measures.index(one.measure))


def write_csv(curve: Sequence[Point], path: Path) -> None:
    """Write a row a point; `low` and `high` are of what `measure` names; undefined is empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for one in curve:
            ratios = (one.counts.precision, one.counts.recall, one.counts.f1)
            ends = (one.interval.low, one.interval.high)
            rounded = ("" if ratio is None else f"{ratio:.4f}" for ratio in (*ratios, *ends))
            rows.writerow((one.notes, one.measure, *rounded))


def lines(curve: Sequence[Point]) -> str:
    """Return a table in per cent: a line a measure, a column a size, with 95 % intervals."""
    rows = {name: list(own) for name, own in groupby(curve, attrgetter("measure"))}
    sizes = [one.notes for one in next(iter(rows.values()), [])]
    head = f"{'':<28}" + "".join(f"{f'{size} notes':>22}" for size in sizes)
    body = [f"{name:<28}" + "".join(map(_cell, own)) for name, own in rows.items()]
    return "\n".join([head, *body])


def _cell(one: Point) -> str:
    value, low, high = one.interval.value, one.interval.low, one.interval.high
    said = "-" if value is None else f"{100 * value:.1f}"
    if low is not None and high is not None:
        said += f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{said:>22}"


def figure(curve: Sequence[Point]) -> str:
    """Return an SVG of a plot a measure: notes (x, from 0) against its value (y, 0 to 100 %)."""
    return side_by_side([_plot(n, list(own)) for n, own in groupby(curve, attrgetter("measure"))])


def _plot(name: str, own: Sequence[Point]) -> str:
    most = max(one.notes for one in own)
    marks = "".join(_mark(one, SIDE * one.notes / most) for one in own)
    return (
        f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="#888"/>{marks}'
        f'<text x="0" y="-8">{name}, %</text>'
    )


def _mark(one: Point, x: float) -> str:
    """Return a point with its interval and its value, and its size below the plot."""
    value, low, high = one.interval.value, one.interval.low, one.interval.high
    parts = [f'<text x="{x:.1f}" y="{SIDE + 16}" text-anchor="middle">{one.notes}</text>']
    if low is not None and high is not None:
        ends = f'y1="{SIDE * (1 - low):.1f}" y2="{SIDE * (1 - high):.1f}"'
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="#1f5fa8"/>')
    if value is not None:
        y = SIDE * (1 - value)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1f5fa8"/>')
        parts.append(
            f'<text x="{x - 6:.1f}" y="{y:.1f}" text-anchor="end">{100 * value:.0f}</text>'
        )
    return "".join(parts)
