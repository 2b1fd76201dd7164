from __future__ import annotations

from pathlib import Path

import pytest

from gold_notes import NOTES, gold_note

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.train import TaggerTrainConfig  # noqa: E402
from spanlake.core.labels import load_labels  # noqa: E402
from spanlake.errors import ConfigError, DataError, ModelError  # noqa: E402
from spanlake.training import folds  # noqa: E402
from spanlake.training.apart import check_apart, learnt_by  # noqa: E402

KIWI = load_labels("kiwi")
FOLDS = {"a": 0, "b": 1, "c": 1, "elsewhere": 7}


def _config(base: Path, to: Path) -> TaggerTrainConfig:
    values = {"kind": "tagger", "model": str(base), "train": "notes", "to": str(to), "epochs": 1}
    return TaggerTrainConfig.model_validate(values | {"max_tokens": 32, "stride": 8})


def test_every_note_is_scored_once_by_a_model_that_has_not_seen_it(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    train = folds.train_tagger

    def noted(notes, dev, config):
        seen[Path(config.to).name] = {one.note.note_id for one in notes}
        return train(notes, dev, config)

    monkeypatch.setattr(folds, "train_tagger", noted)
    config = _config(tiny_base, tmp_path)
    made = folds.train_folds(NOTES, FOLDS, config)
    scores = {one.note_id: one.scores for one in folds.out_of_fold(made)}
    assert seen == {"fold-0": {"b", "c"}, "fold-1": {"a"}}
    assert {name: one.notes for name, one in scores.items()} == {"a": 1, "b": 1, "c": 1}
    trained = (tmp_path / "fold-0" / "model.safetensors").stat().st_mtime_ns
    again = folds.out_of_fold(folds.train_folds(NOTES, FOLDS, config))
    assert {one.note_id: one.scores for one in again} == scores
    assert (tmp_path / "fold-0" / "model.safetensors").stat().st_mtime_ns == trained


def test_folds_are_read_by_ensembles_of_runs_over_the_same_notes(
    tiny_base: Path, tmp_path: Path
) -> None:
    first = folds.train_folds(NOTES, FOLDS, _config(tiny_base, tmp_path / "x"))
    folds.train_folds(NOTES, FOLDS, _config(tiny_base, tmp_path / "y"))
    [joined, _] = folds.joined_by(first, [tmp_path / "y"])
    assert len(joined.reader().readers) == 2
    assert folds.joined_by(first, []) == first
    folds.check_members(NOTES, FOLDS, [0, 1], [tmp_path / "y"], KIWI)
    with pytest.raises(ConfigError, match=r"fold-0 has learnt with 0 neighbours, not 1"):
        folds.check_members(NOTES, FOLDS, [0], [tmp_path / "y"], KIWI, 1)
    other = {"a": 1, "b": 0, "c": 0}
    folds.train_folds(NOTES, other, _config(tiny_base, tmp_path / "z"))
    with pytest.raises(ConfigError, match="has learnt notes that it would be scored on"):
        folds.check_members(NOTES, FOLDS, [0, 1], [tmp_path / "z"], KIWI)
    with pytest.raises(ModelError, match="label set"):
        folds.check_members(NOTES, FOLDS, [0], [tmp_path / "y"], load_labels("bc5cdr"))


def test_some_folds_are_trained_alone(tiny_base: Path, tmp_path: Path) -> None:
    config = _config(tiny_base, tmp_path)
    [one] = folds.train_folds(NOTES, FOLDS, config, [1])
    assert {gold.note.note_id for gold in one.held_out} == {"b", "c"}
    assert not (tmp_path / "fold-0").exists()
    with pytest.raises(ConfigError, match="no note is in fold 7"):
        folds.train_folds(NOTES, FOLDS, config, [1, 7])


def test_a_folder_of_another_recipe_is_refused_before_any_fold_is_trained(
    tiny_base: Path, tmp_path: Path
) -> None:
    config = _config(tiny_base, tmp_path)
    folds.train_folds(NOTES, FOLDS, config, [1])
    other = config.model_copy(update={"epochs": 2})
    with pytest.raises(ConfigError, match=r"fold-1: holds a model of another recipe .*epochs"):
        folds.train_folds(NOTES, FOLDS, other)
    assert not (tmp_path / "fold-0").exists()


def test_a_fold_goes_on_from_what_has_not_learnt_its_notes(tiny_base: Path, tmp_path: Path) -> None:
    folds.train_folds(NOTES, FOLDS, _config(tiny_base, tmp_path / "x"))
    further = _config(tmp_path / "x" / "fold-{fold}", tmp_path / "y")
    made = folds.train_folds(NOTES, FOLDS, further)
    assert [learnt_by(str(one.reading.model)) for one in made] == [
        learnt_by(str(tmp_path / "x" / f"fold-{k}")) for k in (0, 1)
    ]
    with pytest.raises(ConfigError, match="fold-1 has learnt notes that it would be scored on"):
        folds.train_folds(NOTES, FOLDS, _config(tmp_path / "x" / "fold-1", tmp_path / "z"))
    assert not (tmp_path / "z").exists()
    manifest = tmp_path / "x" / "fold-0" / "spanlake.json"
    manifest.write_text(manifest.read_text().replace("learnt_texts", "of_old"))
    with pytest.raises(ConfigError, match="does not tell"):
        folds.train_folds(NOTES, FOLDS, further)


def test_folds_are_read_with_other_neighbours(tiny_base: Path, tmp_path: Path) -> None:
    config = _config(tiny_base, tmp_path).model_copy(update={"together": 5})
    [first, _] = folds.train_folds(NOTES, FOLDS, config)
    assert first.reader().context == 0, "neighbours are for learning"
    assert folds.read_with(first, 2).reader().context == 2


def test_a_note_that_is_scored_is_not_learnt_under_another_id() -> None:
    text = NOTES[0].note.note_text
    with pytest.raises(DataError, match="1 notes that are scored are learnt: a"):
        check_apart([gold_note("other", text)], NOTES)
    check_apart([gold_note("a", "Another note."), gold_note("b", "")], NOTES)


def test_notes_without_a_fold_or_given_twice_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    config = _config(tiny_base, tmp_path)
    with pytest.raises(DataError, match="1 notes have no fold: c"):
        folds.train_folds(NOTES, {"a": 0, "b": 1}, config)
    with pytest.raises(DataError, match="given twice"):
        folds.train_folds([*NOTES, NOTES[0]], FOLDS, config)


def test_a_file_of_folds_is_read_and_a_wrong_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.tsv"
    path.write_text("note_id\tbatch\tfold\na\tx\t0\nb\ty\t1\n")
    assert folds.read_folds(path) == {"a": 0, "b": 1}
    path.write_text("id\tgroup\na\t0\n")
    with pytest.raises(DataError, match="needed: tab-separated columns note_id and fold"):
        folds.read_folds(path)


def test_a_fold_of_notes_without_text_does_not_spoil_a_calibration(
    tiny_base: Path, tmp_path: Path
) -> None:
    made = folds.train_folds(NOTES, {"a": 0, "b": 0, "c": 1}, _config(tiny_base, tmp_path), [1])
    with pytest.raises(DataError, match="no notes to calibrate on"):
        folds.calibrate(made, KIWI)
