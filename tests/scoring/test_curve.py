from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from spanlake.scoring.bootstrap import RATIOS, Interval, intervals
from spanlake.scoring.counts import Counts
from spanlake.scoring.curve import Point, figure, lines, points, write_csv

TWO = {"a": Counts(8, 2, 2), "b": Counts(3, 1, 5)}
ONE = {"a": Counts(5, 5, 5), "b": Counts(1, 3, 7)}
CURVE = {
    size: {note: dict.fromkeys(RATIOS, one) for note, one in notes.items()}
    for size, notes in ((20, TWO), (10, ONE))
}
UNDEFINED = Point("main strict F1", 5, Counts(0, 2, 0), Interval(None, None, None))


def test_a_measure_s_points_go_up_in_notes_with_pooled_counts_and_intervals() -> None:
    found = points(CURVE)
    assert [(one.measure, one.notes) for one in found] == [(m, n) for m in RATIOS for n in (10, 20)]
    assert [one.counts for one in found[:2]] == [Counts(6, 8, 12), Counts(11, 3, 7)]
    assert found[1].interval == intervals(CURVE[20])["main strict F1"]


def test_the_file_has_a_row_a_point_and_leaves_what_is_undefined_empty(tmp_path: Path) -> None:
    write_csv([*points(CURVE), UNDEFINED], tmp_path / "c.csv")
    rows = list(csv.DictReader((tmp_path / "c.csv").open(encoding="utf-8")))
    assert len(rows) == 2 * len(RATIOS) + 1
    row = next(r for r in rows if (r["notes"], r["measure"]) == ("20", "main 3+ words recall"))
    assert float(row["precision"]) == pytest.approx(11 / 14, abs=1e-4)
    assert float(row["recall"]) == pytest.approx(11 / 18, abs=1e-4)
    assert float(row["f1"]) == pytest.approx(22 / 32, abs=1e-4)
    assert (float(row["low"]), float(row["high"])) == (3 / 8, 8 / 10), "of recall, not of F1"
    assert [rows[-1][name] for name in ("precision", "recall", "low", "high")] == [
        "0.0000",
        *3 * [""],
    ]


def test_the_table_has_a_column_a_size() -> None:
    head, first, *_ = lines(points(CURVE)).splitlines()
    assert head.split() == ["10", "notes", "20", "notes"]
    assert first.startswith("main strict F1") and first.split()[3:] == [
        "37.5", "[16.7,", "50.0]", "68.8", "[50.0,", "80.0]",
    ]  # fmt: skip
    assert lines([UNDEFINED]).splitlines()[1].split() == ["main", "strict", "F1", "-"]


def test_the_figure_is_svg_with_a_dot_a_point_higher_where_the_value_is() -> None:
    root = ET.fromstring(figure([*points(CURVE), UNDEFINED]))  # our own output
    dots = root.findall(".//{*}circle")
    assert len(dots) == len(root.findall(".//{*}line")) == 2 * len(RATIOS)
    low, high = dots[:2]
    assert float(low.get("cx")) < float(high.get("cx"))
    assert float(low.get("cy")) > float(high.get("cy"))
