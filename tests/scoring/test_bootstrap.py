from __future__ import annotations

from pathlib import Path

import pytest

from spanlake.cli import main
from spanlake.errors import DataError
from spanlake.scoring.bootstrap import (
    RATIOS,
    differences,
    intervals,
    read_notes,
    write_notes,
)
from spanlake.scoring.counts import Counts

MAIN = "main strict F1"


def _run(*counts: Counts) -> dict[str, dict[str, Counts]]:
    return {f"note {i}": dict.fromkeys(RATIOS, one) for i, one in enumerate(counts)}


def test_the_value_is_pooled_and_lies_inside_its_interval() -> None:
    found = intervals(_run(Counts(9, 1, 0), Counts(1, 0, 9), Counts(5, 5, 5)))[MAIN]
    assert found.value == pytest.approx(30 / 50)
    assert found.low < found.value < found.high


def test_equal_notes_leave_no_doubt() -> None:
    found = intervals(_run(*[Counts(3, 1, 1)] * 20))[MAIN]
    assert found.low == found.value == found.high == pytest.approx(0.75)


def test_a_gain_on_every_note_excludes_zero_and_one_on_a_single_note_does_not() -> None:
    weak = _run(*[Counts(5 + i % 5, 5, 5) for i in range(30)])
    better = _run(*[Counts(7 + i % 5, 3, 3) for i in range(30)])
    found = differences(better, weak)[MAIN]
    assert found.excludes_zero
    assert found.low > 0
    one_better = {**weak, "note 0": better["note 0"]}
    assert not differences(one_better, weak)[MAIN].excludes_zero


def test_a_run_against_itself_gains_nothing() -> None:
    run = _run(Counts(9, 1, 0), Counts(1, 0, 9))
    found = differences(run, run)[MAIN]
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_measure_that_is_undefined_in_a_sample_has_no_interval() -> None:
    found = intervals(_run(Counts(1, 0, 0), Counts()))[MAIN]
    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_runs_over_other_notes_are_not_compared() -> None:
    run = _run(Counts(1, 1, 1), Counts(1, 1, 1))
    with pytest.raises(DataError, match="1 only in the first, 0 only in the second"):
        differences(run, {"note 0": run["note 0"]})


def test_runs_scored_on_different_gold_are_not_compared() -> None:
    ours, theirs = (_run(Counts(8, 2, fn), Counts(5, 5, 5)) for fn in (2, 3))
    with pytest.raises(DataError, match="scored on different gold: main strict F1, 1 notes"):
        differences(ours, theirs)
    wrong_but_same = _run(Counts(7, 9, 3), Counts(5, 5, 5))
    assert differences(ours, wrong_but_same)[MAIN].value > 0


def test_two_written_runs_are_compared_by_the_command(tmp_path: Path, capsys) -> None:
    weak = _run(*[Counts(5 + i % 5, 5, 5) for i in range(30)])
    better = _run(*[Counts(7 + i % 5, 3, 3) for i in range(30)])
    write_notes(better, tmp_path / "ours.json")
    write_notes(weak, tmp_path / "theirs.json")
    assert read_notes(tmp_path / "ours.json") == better
    assert main(["compare", str(tmp_path / "ours.json"), str(tmp_path / "theirs.json")]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith(MAIN)]
    assert "+" in line
    assert line.endswith("*")


def test_a_file_that_holds_no_counts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match="no counts by note"):
        read_notes(tmp_path / "x.json")
