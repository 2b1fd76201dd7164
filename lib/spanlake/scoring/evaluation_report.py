"""All that an evaluation can say, for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from spanlake.scoring import reliability
from spanlake.scoring.assertions import assertion_counts
from spanlake.scoring.bootstrap import Interval, intervals, lines, of_notes
from spanlake.scoring.cascade_curve import CurvePoint, curve_lines
from spanlake.scoring.counts import Counts, Scores
from spanlake.scoring.evaluation import Evaluation
from spanlake.scoring.groups import GroupCounts
from spanlake.scoring.outcomes import score_outcomes
from spanlake.scoring.relation_baselines import relation_baselines
from spanlake.scoring.scores import (
    assertion_table,
    rules_table,
    six,
    string_table,
    table,
    to_json,
)


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What is said of all notes together; `groups` is by kind.

    `without_rules` are the scores of what the model alone has found, None where no rule has added
    anything. `assertions_among_found` leaves entities out that were missed.
    """

    scores: Scores
    without_rules: Scores | None
    intervals: Mapping[str, Interval]
    baselines: Mapping[str, Counts]
    assertions: Mapping[str, Counts]
    assertions_among_found: Mapping[str, Counts]
    outcomes: Mapping[str, reliability.Outcomes]
    groups: Mapping[str, GroupCounts]
    notes_in_training_data: list[str] | None
    unread: Mapping[str, int]
    gold_problems: Mapping[str, int]
    curve: Sequence[CurvePoint]


def summarize(evaluation: Evaluation, groups: Mapping[str, GroupCounts]) -> EvaluationReport:
    """Return all that can be said of an evaluation."""
    notes, labels = evaluation.notes, evaluation.labels
    return EvaluationReport(
        scores=evaluation.scores,
        without_rules=evaluation.without_rules,
        intervals=intervals(of_notes(evaluation.by_note)),
        baselines=relation_baselines([note.gold for note in notes], labels),
        assertions=assertion_counts(notes, labels),
        assertions_among_found=assertion_counts(notes, labels, among_found=True),
        outcomes=score_outcomes(notes, labels),
        groups=groups,
        notes_in_training_data=evaluation.notes_in_training_data,
        unread=evaluation.unread,
        gold_problems=evaluation.gold_problems,
        curve=evaluation.curve,
    )


def printed(report: EvaluationReport) -> str:
    """Return the tables for a terminal, a blank line between them."""
    return "\n".join(_tables(report))


def _tables(report: EvaluationReport) -> Iterator[str]:
    yield table(report.scores, report.baselines)
    if report.without_rules:
        yield rules_table(report.scores, report.without_rules)
    if report.assertions:
        yield assertion_table("assertions", report.assertions)
        yield assertion_table("of entities found", report.assertions_among_found)
    yield "per cent, 95 % interval over notes\n" + lines(report.intervals) + "\n"
    if report.unread:
        yield _unread(report) + "\n"
    if report.outcomes:
        yield "probabilities, and what came true\n" + reliability.lines(report.outcomes) + "\n"
    if report.curve:
        yield curve_lines(report.curve)
    if "string" in report.groups:
        yield string_table(report.groups["string"])


def _unread(report: EvaluationReport) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(report.unread.items()))
    return f"Predictions that could not be read, and cost no precision here: {reasons}."


def as_json(report: EvaluationReport) -> dict[str, object]:
    """Return what `spanlake evaluate --json` writes; undefined ratios are None."""
    return {
        **to_json(report.scores, report.baselines),
        "without_rules": _without_rules(report),
        "assertions": {name: six(counts) for name, counts in report.assertions.items()},
        "assertions_among_found": {
            name: six(counts) for name, counts in report.assertions_among_found.items()
        },
        "groups": _groups_json(report.groups),
        "reliability": reliability.to_json(report.outcomes),
        "notes_in_training_data": report.notes_in_training_data,
        "unread_predictions": dict(report.unread),
        "gold_problems": dict(report.gold_problems),
        "cascade": [asdict(point) for point in report.curve],
    }


def _without_rules(report: EvaluationReport) -> dict[str, object]:
    """Return modifiers and relations of the model alone, which rules add to."""
    scores = to_json(report.without_rules or report.scores)
    return {level: scores[level] for level in ("modifiers", "relations")}


def _groups_json(groups: Mapping[str, GroupCounts]) -> dict[str, object]:
    return {
        kind: {
            group: {name: six(layer_counts) for name, layer_counts in counts.items()}
            for group, counts in of_kind.items()
        }
        for kind, of_kind in groups.items()
    }
