"""How far probabilities can be trusted: reliability, Brier score, and risk by coverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

BINS = 15
COVERAGES = (0.5, 0.8, 0.9, 1.0)

Outcomes = tuple[np.ndarray, np.ndarray]  # probabilities, and whether each came true


@dataclass(frozen=True, slots=True)
class Reliability:
    """What probabilities were worth.

    `bins` are of equal mass: (mean probability, share that came true, count). `ece` is the mean
    distance of the two, weighted by count (arXiv 1706.04599, with equal mass); `brier` the mean
    squared error; `risk` the share of errors among the surest part, by the part's size.
    """

    count: int
    bins: list[tuple[float, float, int]]
    ece: float
    brier: float
    risk: dict[str, float]


def reliability(probabilities: np.ndarray, true: np.ndarray) -> Reliability | None:
    """Return what `probabilities` were worth, None when there are none."""
    if not len(probabilities):
        return None
    order = np.argsort(-probabilities, kind="stable")
    ordered, right = probabilities[order], true[order].astype(float)
    parts = [part for part in np.array_split(np.arange(len(ordered)), BINS) if len(part)]
    bins = [(float(ordered[p].mean()), float(right[p].mean()), len(p)) for p in parts]
    return Reliability(
        len(ordered),
        bins,
        sum(abs(mean - came) * count for mean, came, count in bins) / len(ordered),
        float(((ordered - right) ** 2).mean()),
        {
            f"{part:.0%}": float(1 - right[: max(1, round(part * len(ordered)))].mean())
            for part in COVERAGES
        },
    )


def lines(outcomes: Mapping[str, Outcomes]) -> str:
    """Return a table: a line a kind of probability."""
    named = f"{'':<16}{'count':>8}{'true':>8}{'ECE':>8}{'Brier':>8}"
    rows = [f"{named}   errors among the surest 50, 80, 90 %"]
    for name, (probabilities, right) in outcomes.items():
        summary = reliability(probabilities, right)
        if summary:
            risk = "  ".join(f"{summary.risk[part]:.3f}" for part in ("50%", "80%", "90%"))
            rows.append(
                f"{name:<16}{summary.count:>8}{right.mean():>8.3f}{summary.ece:>8.3f}{summary.brier:>8.3f}"
                f"   {risk}"
            )
    return "\n".join(rows)


def to_json(outcomes: Mapping[str, Outcomes]) -> dict[str, object]:
    """Return the `Reliability` of each kind, as JSON gives it back."""
    summaries = {name: reliability(*outcome) for name, outcome in outcomes.items()}
    return {name: asdict(summary) for name, summary in summaries.items() if summary}
