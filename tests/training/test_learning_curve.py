from __future__ import annotations

import csv
import importlib.util
import shutil
from pathlib import Path

import pytest

from gold_notes import NOTES, gold_note

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.train import TaggerTrainConfig  # noqa: E402
from spanlake.corpora import write_brat  # noqa: E402
from spanlake.errors import ConfigError, DataError  # noqa: E402
from spanlake.scoring.bootstrap import RATIOS  # noqa: E402
from spanlake.training import learning_curve  # noqa: E402

JOB = Path(__file__).resolve().parents[2] / "jobs" / "learning_curve.py"
MANY = [gold_note(f"n{i:02}", "") for i in range(30)]
DEV = [gold_note("d", "Severe chest pain.", ("Severe", "severity"), ("chest pain", "problem"))]


def _job(arguments: list[str]) -> int:
    spec = importlib.util.spec_from_file_location("job_learning_curve", JOB)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main(arguments)


def _ids(notes) -> list[str]:
    return [one.note.note_id for one in notes]


def test_the_smaller_sets_lie_within_the_larger_and_the_seed_draws_them() -> None:
    found = learning_curve.subsets(MANY, [20, 5, 30, 5], seed=3)
    assert {size: len(notes) for size, notes in found.items()} == {5: 5, 20: 20, 30: 30}
    assert set(_ids(found[5])) < set(_ids(found[20])) < set(_ids(found[30]))
    assert found[30] == MANY and _ids(found[20]) == sorted(_ids(found[20]))
    assert _ids(found[5]) != _ids(MANY[:5])
    assert learning_curve.subsets(MANY, [5], seed=3)[5] == found[5]
    assert learning_curve.subsets(MANY, [5], seed=4)[5] != found[5]


@pytest.mark.parametrize("size", [0, -1, 31])
def test_a_size_that_cannot_be_had_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"sizes {size}: `train` holds 30 notes"):
        learning_curve.subsets(MANY, [5, size], seed=3)


def test_notes_that_are_learnt_from_are_not_scored(tmp_path: Path) -> None:
    values = {"kind": "tagger", "model": "none", "train": "x", "to": str(tmp_path)}
    config = TaggerTrainConfig.model_validate(values)
    again = gold_note("b", NOTES[1].note.note_text)  # by other annotators
    with pytest.raises(DataError, match="1 notes that are scored are learnt: b"):
        learning_curve.train_sizes(NOTES, [*DEV, again], [1], config)


def test_a_model_a_size_is_trained_once_and_scored_on_the_dev_notes(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    learnt = []
    train = learning_curve.train_tagger

    def noted(notes, dev, config):
        learnt.append((Path(config.to).name, len(notes), config.calibration))
        return train(notes, dev, config)

    monkeypatch.setattr(learning_curve, "train_tagger", noted)
    write_brat(tmp_path / "train", [NOTES[0], NOTES[1]])
    write_brat(tmp_path / "dev", DEV)
    recipe, to = tmp_path / "r.yml", tmp_path / "curve"
    recipe.write_text(
        f"kind: tagger\nmodel: {tiny_base}\ntrain: {tmp_path / 'train'}\ndev: {tmp_path / 'dev'}\n"
        f"to: {to}\nepochs: 1\nmax_tokens: 32\nstride: 8\ncalibration: none.json\n"
    )
    call = ["--config", str(recipe), "--sizes", "2", "1"]
    assert _job(call) == 0
    assert learnt == [("notes-1", 1, None), ("notes-2", 2, None)]
    written = (to / "learning_curve.csv").read_text()
    rows = list(csv.DictReader(written.splitlines()))
    assert [(row["measure"], row["notes"]) for row in rows] == [
        (m, n) for m in RATIOS for n in "12"
    ]
    assert {row["recall"] for row in rows if row["measure"] == "main strict F1"} <= {
        "0.0000",
        "1.0000",
    }
    assert (to / "learning_curve.svg").read_text().startswith("<svg")
    printed = capsys.readouterr().out
    assert "1 notes               2 notes" in printed and "pain" not in printed + written
    trained = {p: p.stat().st_mtime_ns for p in to.rglob("model.safetensors")}
    assert len(trained) == 2
    assert _job(call) == 0
    assert {p: p.stat().st_mtime_ns for p in trained} == trained
    assert (to / "learning_curve.csv").read_text() == written
    capsys.readouterr()
    assert _job([*call, "--set", f"model={to / 'notes-2'}"]) == 1
    assert "may have learnt the notes" in capsys.readouterr().err
    shutil.rmtree(to / "notes-1")
    assert _job([*call, "--set", "epochs=2"]) == 1
    assert "notes-2: holds a model of another recipe" in capsys.readouterr().err
    assert not (to / "notes-1").exists()  # nothing was trained first


@pytest.mark.parametrize(
    ("recipe", "said"), [("kind: tagger", "needs `dev`"), ("kind: bert", "only kind: tagger")]
)
def test_a_recipe_without_dev_or_of_another_kind_is_refused(recipe, said, tmp_path, capsys) -> None:
    path = tmp_path / "r.yml"
    path.write_text(f"{recipe}\nmodel: m\ntrain: t\nto: o\n", encoding="utf-8")
    assert _job(["--config", str(path), "--sizes", "1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ConfigError") and said in error
