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
        baselines=relation_baselines([one.gold for one in notes], labels),
        assertions=assertion_counts(notes, labels),
        assertions_among_found=assertion_counts(notes, labels, among_found=True),
        outcomes=score_outcomes(notes, labels),
        groups=groups,
        notes_in_training_data=evaluation.notes_in_training_data,
        unread=evaluation.unread,
        gold_problems=evaluation.gold_problems,
        curve=evaluation.curve,
    )


def printed(found: EvaluationReport) -> str:
    """Return the tables for a terminal, a blank line between them."""
    return "\n".join(_tables(found))


def _tables(found: EvaluationReport) -> Iterator[str]:
    yield table(found.scores, found.baselines)
    if found.without_rules:
        yield rules_table(found.scores, found.without_rules)
    if found.assertions:
        yield assertion_table("assertions", found.assertions)
        yield assertion_table("of entities found", found.assertions_among_found)
    yield "per cent, 95 % interval over notes\n" + lines(found.intervals) + "\n"
    if found.unread:
        yield _unread(found) + "\n"
    if found.outcomes:
        yield "probabilities, and what came true\n" + reliability.lines(found.outcomes) + "\n"
    if found.curve:
        yield curve_lines(found.curve)
    if "string" in found.groups:
        yield string_table(found.groups["string"])


def _unread(found: EvaluationReport) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(found.unread.items()))
    return f"Predictions that could not be read, and cost no precision here: {told}."


def as_json(found: EvaluationReport) -> dict[str, object]:
    """Return what `spanlake evaluate --json` writes; undefined ratios are None."""
    return {
        **to_json(found.scores, found.baselines),
        "without_rules": _without_rules(found),
        "assertions": {name: six(one) for name, one in found.assertions.items()},
        "assertions_among_found": {
            name: six(one) for name, one in found.assertions_among_found.items()
        },
        "groups": _groups_json(found.groups),
        "reliability": reliability.to_json(found.outcomes),
        "notes_in_training_data": found.notes_in_training_data,
        "unread_predictions": dict(found.unread),
        "gold_problems": dict(found.gold_problems),
        "cascade": [asdict(point) for point in found.curve],
    }


def _without_rules(found: EvaluationReport) -> dict[str, object]:
    """Return modifiers and relations of the model alone, which rules add to."""
    scores = to_json(found.without_rules or found.scores)
    return {level: scores[level] for level in ("modifiers", "relations")}


def _groups_json(groups: Mapping[str, GroupCounts]) -> dict[str, object]:
    return {
        kind: {
            group: {name: six(one) for name, one in counts.items()}
            for group, counts in of_kind.items()
        }
        for kind, of_kind in groups.items()
    }
