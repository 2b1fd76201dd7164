"""Subsets of notes, models by size with a fake trainer, and the table of their scores."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

import learning_curve
from gold_notes import NOTES, gold_note
from learning_curve import Point, points, subsets, table, train_sizes, write_csv
from spanlake.config.train import TaggerTrainConfig
from spanlake.corpora import write_brat
from spanlake.errors import ConfigError, DataError
from spanlake.scoring.bootstrap import RATIOS, Interval, intervals
from spanlake.scoring.counts import Counts
from spanlake.training.tagger import train_tagger

MANY = [gold_note(f"n{i:02}", "") for i in range(30)]
EVAL = [gold_note("d", "Severe chest pain.", ("Severe", "severity"), ("chest pain", "problem"))]
TWO = {"a": Counts(8, 2, 2), "b": Counts(3, 1, 5)}
ONE = {"a": Counts(5, 5, 5), "b": Counts(1, 3, 7)}
CURVE = {
    size: {note: dict.fromkeys(RATIOS, counts) for note, counts in notes.items()}
    for size, notes in ((20, TWO), (10, ONE))
}
UNDEFINED = Point("main strict F1", 5, Counts(0, 2, 0), Interval(None, None, None))


def _ids(notes: Any) -> list[str]:
    return [gold.note.note_id for gold in notes]


def test_smaller_sets_are_subsets_that_the_seed_draws() -> None:
    found = subsets(MANY, [20, 5, 30, 5], seed=3)
    assert {size: len(notes) for size, notes in found.items()} == {5: 5, 20: 20, 30: 30}
    assert set(_ids(found[5])) < set(_ids(found[20])) < set(_ids(found[30]))
    assert found[30] == MANY and _ids(found[20]) == sorted(_ids(found[20]))
    assert _ids(found[5]) != _ids(MANY[:5])
    assert subsets(MANY, [5], seed=3)[5] == found[5]
    assert subsets(MANY, [5], seed=4)[5] != found[5]


@pytest.mark.parametrize("size", [0, -1, 31])
def test_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"sizes {size}: `train_data` holds 30 notes"):
        subsets(MANY, [5, size], seed=3)


def test_training_notes_are_not_evaluated(tmp_path: Path) -> None:
    values = {"model": "none", "train_data": "x", "output_dir": str(tmp_path)}
    again = gold_note("b", NOTES[1].note.note_text)  # with other annotation
    with pytest.raises(DataError, match="1 evaluation notes are in the training data: b"):
        train_sizes(NOTES, [*EVAL, again], [1], TaggerTrainConfig.model_validate(values))


def test_a_model_per_size_is_trained_once_and_evaluated(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    calls = []

    def recorded(notes: Any, eval_notes: Any, config: TaggerTrainConfig) -> Any:
        calls.append((Path(config.output_dir).name, len(notes), config.calibration))
        return train_tagger(notes, eval_notes, config, export=False)

    monkeypatch.setattr(learning_curve, "train_tagger", recorded)
    write_brat(tmp_path / "train", [NOTES[0], NOTES[1]])
    write_brat(tmp_path / "eval", EVAL)
    config, output_dir = tmp_path / "train.yml", tmp_path / "curve"
    config.write_text(
        f"kind: tagger\nmodel: {tiny_base}\ntrain_data: {tmp_path / 'train'}\n"
        f"eval_data: {tmp_path / 'eval'}\noutput_dir: {output_dir}\n"
        "epochs: 1\nmax_tokens: 32\nstride: 8\ncalibration: none.json\n"
    )
    call = ["--config", str(config), "--sizes", "2", "1"]
    assert learning_curve.main(call) == 0
    assert calls == [("notes-1", 1, None), ("notes-2", 2, None)]
    written = (output_dir / "learning_curve.csv").read_text()
    rows = list(csv.DictReader(written.splitlines()))
    assert [(row["measure"], row["notes"]) for row in rows] == [
        (m, n) for m in RATIOS for n in "12"
    ]
    assert (output_dir / "learning_curve.png").stat().st_size
    printed = capsys.readouterr().out
    assert "1 notes               2 notes" in printed and "pain" not in printed + written
    trained = {p: p.stat().st_mtime_ns for p in output_dir.rglob("model.safetensors")}
    assert len(trained) == 2
    assert learning_curve.main(call) == 0
    assert {p: p.stat().st_mtime_ns for p in trained} == trained
    capsys.readouterr()
    assert learning_curve.main([*call, "--set", f"model={output_dir / 'notes-2'}"]) == 1
    assert "may be those of `eval_data`" in capsys.readouterr().err
    assert learning_curve.main([*call, "--set", "epochs=2"]) == 1
    assert "notes-1: holds a model of another recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [("kind: tagger", "needs `eval_data`"), ("kind: bert", "only kind: tagger")],
)
def test_an_unusable_configuration_is_refused(text, message, tmp_path, capsys) -> None:
    path = tmp_path / "train.yml"
    path.write_text(f"{text}\nmodel: m\ntrain_data: t\noutput_dir: o\n", encoding="utf-8")
    assert learning_curve.main(["--config", str(path), "--sizes", "1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ConfigError") and message in error


def test_points_are_ordered_by_size_with_pooled_counts() -> None:
    found = points(CURVE)
    assert [(point.measure, point.notes) for point in found] == [
        (measure, size) for measure in RATIOS for size in (10, 20)
    ]
    assert [point.counts for point in found[:2]] == [Counts(6, 8, 12), Counts(11, 3, 7)]
    assert found[1].interval == intervals(CURVE[20])["main strict F1"]


def test_the_csv_has_a_row_per_point_and_empty_undefined_cells(tmp_path: Path) -> None:
    write_csv([*points(CURVE), UNDEFINED], tmp_path / "c.csv")
    rows = list(csv.DictReader((tmp_path / "c.csv").open(encoding="utf-8")))
    assert len(rows) == 2 * len(RATIOS) + 1
    row = next(r for r in rows if (r["notes"], r["measure"]) == ("20", "main 3+ words recall"))
    assert float(row["precision"]) == pytest.approx(11 / 14, abs=1e-4)
    assert float(row["recall"]) == pytest.approx(11 / 18, abs=1e-4)
    assert float(row["f1"]) == pytest.approx(22 / 32, abs=1e-4)
    assert (float(row["low"]), float(row["high"])) == (3 / 8, 8 / 10), "of recall, not of F1"
    cells = [rows[-1][name] for name in ("precision", "recall", "low", "high")]
    assert cells == ["0.0000", "", "", ""]


def test_the_table_has_a_column_per_size() -> None:
    head, first, *_ = table(points(CURVE)).splitlines()
    assert head.split() == ["10", "notes", "20", "notes"]
    assert first.startswith("main strict F1") and first.split()[3:] == [
        "37.5", "[16.7,", "50.0]", "68.8", "[50.0,", "80.0]",
    ]  # fmt: skip
    assert table([UNDEFINED]).splitlines()[1].split() == ["main", "strict", "F1", "-"]
