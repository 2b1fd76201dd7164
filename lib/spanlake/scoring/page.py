"""Scores as one HTML page: no scripts, nothing loaded from elsewhere, no note text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from spanlake.scoring.bootstrap import Interval
from spanlake.scoring.counts import Counts, LayerScores, ManyCounts, Scores
from spanlake.scoring.groups import GroupCounts
from spanlake.scoring.reliability import Outcomes, figure
from spanlake.scoring.scores import DASH

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; width: 100% }
th, td { padding: .15em .6em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
td:last-child { width: 30% }
td svg { width: 100%; height: 12px; display: block }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Spanlake: scores</title><style>{style}</style></head>
<body>
<h1>Spanlake: scores</h1>
<p>Per cent, {notes} notes. Intervals are 95 %, over notes. Tables below the first are strict (label
and both offsets) unless they say relaxed; bars are F1.</p>
<p>{about}</p>
{tables}
</body>
</html>
"""
RATIOS = ("precision", "recall", "F1", "gold")


def page(
    scores: Scores,
    intervals: Mapping[str, Interval],
    groups: Mapping[str, GroupCounts],
    baselines: Mapping[str, Counts],
    assertions: Mapping[str, Counts],
    outcomes: Mapping[str, Outcomes],
    about: Iterable[str],
) -> str:
    """Return the page: scores with intervals, then by label, length, relation and group.

    `intervals` are by measure (`bootstrap`), `baselines` by rule (`relation_baselines`),
    `assertions` by column (`scoring.assertions`), `outcomes` the model's
    probabilities (`scoring.outcomes`). `about` are lines on what was scored.
    """
    measured = [_interval_row(name, one) for name, one in intervals.items()]
    tables = [_table("Scores", ("value", "95 % interval"), measured)]
    for title, layer in (("Main entities", scores.entities), ("Modifiers", scores.modifiers)):
        labels = {"all": layer.micro.strict, **_strict(layer)}
        tables.append(_counts_table(f"{title} by label", labels))
        tables.append(_counts_table(f"{title} by number of words", layer.lengths))
    tables.append(_counts_table("Relations", _relations(scores, baselines)))
    if assertions:
        tables.append(_counts_table("Assertions", assertions))
    for kind, of_kind in groups.items():
        for counted in next(iter(of_kind.values()), {}):
            title = f"{counted} by {kind}".replace("_", " ").capitalize()
            counts = {group: one[counted] for group, one in of_kind.items()}
            tables.append(_counts_table(title, counts))
    if outcomes:
        tables.append(f"<h2>Probabilities, and what came true</h2>\n{figure(outcomes)}")
    said = "<br>\n".join(map(escape, about))
    return PAGE.format(style=STYLE, notes=scores.notes, about=said, tables="\n".join(tables))


def _strict(layer: LayerScores) -> dict[str, Counts]:
    return {label: one.strict for label, one in layer.labels.items()}


def _relations(scores: Scores, baselines: Mapping[str, Counts]) -> dict[str, Counts]:
    linked = scores.gold_entities
    return {
        **({} if linked is None else {"on gold entities": linked}),
        **{f"on gold entities, {name}": counts for name, counts in baselines.items()},
        "on predicted entities, strict": scores.relations_strict,
        "on predicted entities, relaxed": scores.relations_relaxed,
    }


def _counts_table(title: str, counts: Mapping[str, Counts | ManyCounts]) -> str:
    """Return a table of what occurs in gold or is predicted; the rest would be dashes only."""
    rows = []
    for name, one in counts.items():
        if one.f1 is not None:
            ratios = [_percent(value) for value in (one.precision, one.recall, one.f1)]
            rows.append(([name, *ratios, str(one.support)], _bar(one.f1)))
    return _table(title, RATIOS, rows)


def _interval_row(name: str, one: Interval) -> tuple[list[str], str]:
    if one.low is None or one.high is None:
        return [name, _percent(one.value), DASH], _bar(one.value)
    between = f"{_percent(one.low)} to {_percent(one.high)}"
    return [name, _percent(one.value), between], _bar(one.value, (one.low, one.high))


def _table(title: str, heads: Sequence[str], rows: Iterable[tuple[Sequence[str], str]]) -> str:
    """Return a titled table; a row is its cells as text, and its bar as SVG."""
    head = "".join(f"<th>{escape(one)}</th>" for one in ("", *heads, ""))
    lines = [_row(cells, bar) for cells, bar in rows]
    body = "\n".join(lines)
    return f"<h2>{escape(title)}</h2>\n<table>\n<tr>{head}</tr>\n{body}\n</table>"


def _row(cells: Sequence[str], bar: str) -> str:
    return "<tr>" + "".join(f"<td>{escape(one)}</td>" for one in cells) + f"<td>{bar}</td></tr>"


def _bar(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """Return a bar from 0 to 1 as SVG, its interval as a dark line on it."""
    parts = ['<rect width="100" height="8" fill="#eee"/>']
    if value is not None:
        parts.append(f'<rect width="{100 * value:.1f}" height="8" fill="#7aa6c2"/>')
    if interval:
        low, high = (100 * end for end in interval)
        width = max(high - low, 0.3)  # one without doubt can still be seen
        parts.append(f'<rect x="{low:.1f}" y="3" width="{width:.1f}" height="2" fill="#123"/>')
    return f'<svg viewBox="0 0 100 8" preserveAspectRatio="none">{"".join(parts)}</svg>'


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.1f}"
