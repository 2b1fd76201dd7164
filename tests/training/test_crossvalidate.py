"""jobs/crossvalidate.py from its arguments to its files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from gold_notes import NOTES

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.corpora import write_brat  # noqa: E402
from spanlake.scoring.bootstrap import read_notes  # noqa: E402

JOB = Path(__file__).resolve().parents[2] / "jobs" / "crossvalidate.py"
WRITTEN = {"calibration.json", "notes.json", "reliability.svg"}


def _main() -> Any:
    spec = importlib.util.spec_from_file_location("job_crossvalidate", JOB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def arguments(tiny_base: Path, tmp_path: Path) -> list[str]:
    write_brat(tmp_path / "notes", NOTES)
    (tmp_path / "folds.tsv").write_text("note_id\tfold\na\t0\nb\t1\nc\t1\n")
    (tmp_path / "recipe.yml").write_text(
        f"kind: tagger\nmodel: {tiny_base}\ntrain: {tmp_path / 'notes'}\nto: {tmp_path / 'to'}\n"
        "epochs: 1\nmax_tokens: 32\nstride: 8\ntogether: 3\n"
    )
    return ["--config", str(tmp_path / "recipe.yml"), "--folds", str(tmp_path / "folds.tsv")]


def test_all_folds_then_one_of_them_then_with_neighbours(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, to, out = _main(), tmp_path / "to", tmp_path / "out"
    assert main(arguments) == 0
    assert {path.name for path in to.iterdir()} == WRITTEN | {"fold-0", "fold-1"}
    assert set(read_notes(to / "notes.json")) == {"a", "b", "c"}
    assert {"tags", "pairs"} <= set(json.loads((to / "calibration.json").read_text()))
    printed = capsys.readouterr().out
    assert "main strict F1" in printed and "calibrated on the same notes" in printed
    trained = (to / "fold-0" / "model.safetensors").stat().st_mtime_ns
    assert main([*arguments, "--only", "0", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == WRITTEN
    assert set(read_notes(out / "notes.json")) == {"a"}
    near = tmp_path / "near"
    assert main([*arguments, "--only", "0", "--context", "1", "--out", str(near)]) == 0
    assert (near / "calibration.json").read_text() != (out / "calibration.json").read_text()
    assert (to / "fold-0" / "model.safetensors").stat().st_mtime_ns == trained


@pytest.mark.parametrize("other", [["--only", "0"], ["--context", "1"], ["--with", "x"]])
def test_scores_of_something_else_need_a_folder_of_their_own(
    arguments: list[str], other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        _main()([*arguments, *other])
    assert "need --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (["--context", "2"], "needs models that learn 5 sentences together: `together` is 3"),
        (["--with", "nowhere"], "--with nowhere: no fold-0; train that run first"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_trained(
    arguments: list[str], other: list[str], said: str, tmp_path: Path, capsys
) -> None:
    assert _main()([*arguments, *other, "--out", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_members_that_learnt_other_folds_are_refused_before_anything_is_trained(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds, x, out = tmp_path / "folds.tsv", tmp_path / "x", tmp_path / "out"
    assert _main()([*arguments, "--set", f"to={x}"]) == 0
    folds.write_text("note_id\tfold\na\t1\nb\t0\nc\t1\n")
    assert _main()([*arguments, "--with", str(x), "--out", str(out)]) == 1
    assert "fold-0 has learnt notes that it would be scored on" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_an_error_is_a_line_and_an_exit_code(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folds.tsv").write_text("note_id\tfold\na\t0\n")
    assert _main()(arguments) == 1
    assert "DataError: 2 notes have no fold: b, c" in capsys.readouterr().err
