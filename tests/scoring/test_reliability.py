from __future__ import annotations

import numpy as np
import pytest

from spanlake.scoring.reliability import lines, reliability


def _drawn(count: int, spoil: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    true_share = draw.uniform(size=count)
    return true_share**spoil, draw.uniform(size=count) < true_share


def test_honest_probabilities_have_a_small_error_and_boastful_ones_a_large() -> None:
    honest, boastful = (reliability(*_drawn(20_000, spoil)) for spoil in (1.0, 0.3))
    assert honest.ece < 0.02 < 0.1 < boastful.ece
    assert honest.brier == pytest.approx(1 / 6, abs=0.01)
    assert sum(count for _, _, count in honest.bins) == honest.count == 20_000
    assert len({count for _, _, count in honest.bins}) <= 2, "bins of equal mass"


def test_risk_falls_with_coverage() -> None:
    found = reliability(*_drawn(20_000))
    assert found.risk["50%"] == pytest.approx(0.25, abs=0.02)
    assert found.risk["50%"] < found.risk["80%"] < found.risk["100%"]


def test_few_or_no_probabilities() -> None:
    assert reliability(np.array([]), np.array([])) is None
    one = reliability(np.array([0.9]), np.array([True]))
    assert (one.ece, one.count) == (pytest.approx(0.1), 1)


def test_kinds_without_probabilities_have_no_line() -> None:
    outcomes = {"main spans": _drawn(500), "texts": (np.array([]), np.array([], dtype=bool))}
    assert "main spans" in lines(outcomes)
    assert "texts" not in lines(outcomes)
