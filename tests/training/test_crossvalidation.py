"""Folds, their bookkeeping with a fake trainer, and the temperatures that are fitted on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import tagger_at, tiny_config

from gold_notes import NOTES, gold_note
from spanlake.cli import main
from spanlake.config.train import TaggerTrainConfig
from spanlake.core.labels import load_labels
from spanlake.corpora import write_brat
from spanlake.errors import ConfigError, DataError, ModelError
from spanlake.models.decoding import Calibration, temperature_scaled
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.scoring.bootstrap import read_notes
from spanlake.scoring.outcomes import score_outcomes
from spanlake.scoring.score_extractor import scored_notes
from spanlake.training import crossvalidation, leakage, run_dir
from spanlake.training.crossvalidation import (
    Predictions,
    as_ensembles,
    fit_calibration,
    out_of_fold,
    predict,
    train_folds,
    validate_members,
)
from spanlake.training.leakage import require_disjoint, training_text_hashes

KIWI = load_labels("kiwi")
FOLDS = {"a": 0, "b": 1, "c": 1, "elsewhere": 7}
RESULTS = {"calibration.json", "notes.json"}


@pytest.fixture
def trainings(trained, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Replace the trainer: it copies a tagger and records what it was to be trained on.

    The value is filled with the note ids by output folder, in the order of the trainings.
    """
    calls: dict[str, list[str]] = {}

    def fake_train_tagger(notes: Any, _: Any, config: TaggerTrainConfig, **__: Any) -> None:
        folder = Path(config.output_dir)
        calls[folder.name] = [gold.note.note_id for gold in notes]
        hashes = leakage.text_hashes(notes) | training_text_hashes(config.model)
        shutil.copytree(trained[0], folder, dirs_exist_ok=True)
        manifest = json.loads((folder / "spanlake.json").read_text())
        manifest["context"] = (config.max_packed_sentences - 1) // 2
        manifest["training"] |= {
            "training_text_hashes": sorted(hashes),
            "recipe": run_dir.recipe_of(config, run_dir.gold_digest(notes), calibration=None),
        }
        (folder / "spanlake.json").write_text(json.dumps(manifest))
        run_dir.write_json(folder / run_dir.METRICS, manifest["training"])

    monkeypatch.setattr(crossvalidation, "train_tagger", fake_train_tagger)
    return calls


def test_each_fold_is_trained_on_the_other_folds(
    trainings, tiny_base: Path, tmp_path: Path
) -> None:
    folds = train_folds(NOTES, FOLDS, tiny_config(tiny_base, tmp_path))
    assert trainings == {"fold-0": ["b", "c"], "fold-1": ["a"]}
    scored = out_of_fold(folds)
    assert {one.note_id: one.scores.notes for one in scored} == {"a": 1, "b": 1, "c": 1}


def test_some_folds_are_trained_alone(trainings, tiny_base: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_base, tmp_path)
    [fold] = train_folds(NOTES, FOLDS, config, [1])
    assert [gold.note.note_id for gold in fold.held_out] == ["b", "c"]
    assert list(trainings) == ["fold-1"]
    with pytest.raises(ConfigError, match="no note is in fold 7"):
        train_folds(NOTES, FOLDS, config, [1, 7])


def test_all_folders_are_checked_before_the_first_training(
    trainings, tiny_base: Path, tmp_path: Path
) -> None:
    train_folds(NOTES, FOLDS, tiny_config(tiny_base, tmp_path), [1])
    trainings.clear()
    with pytest.raises(ConfigError, match=r"fold-1: holds a model of another recipe .*epochs"):
        train_folds(NOTES, FOLDS, tiny_config(tiny_base, tmp_path, epochs=2))
    assert not trainings


def test_folds_are_read_by_ensembles_of_several_runs(
    trainings, tiny_base: Path, tmp_path: Path
) -> None:
    first = train_folds(NOTES, FOLDS, tiny_config(tiny_base, tmp_path / "x"))
    train_folds(NOTES, FOLDS, tiny_config(tiny_base, tmp_path / "y"))
    [ensemble, _] = as_ensembles(first, [tmp_path / "y"])
    assert len(ensemble.load().readers) == 2
    assert as_ensembles(first, []) == first
    validate_members(NOTES, FOLDS, [0, 1], [tmp_path / "y"], KIWI)
    with pytest.raises(ConfigError, match=r"fold-0 was trained with context 0, not 1"):
        validate_members(NOTES, FOLDS, [0], [tmp_path / "y"], KIWI, 1)
    train_folds(NOTES, {"a": 1, "b": 0, "c": 0}, tiny_config(tiny_base, tmp_path / "z"))
    with pytest.raises(ConfigError, match="1 evaluation notes are in its training data"):
        validate_members(NOTES, FOLDS, [0, 1], [tmp_path / "z"], KIWI)
    with pytest.raises(ModelError, match="label set"):
        validate_members(NOTES, FOLDS, [0], [tmp_path / "y"], load_labels("bc5cdr"))


def test_a_fold_starts_only_from_models_without_its_notes(
    trainings, tiny_base: Path, tmp_path: Path
) -> None:
    train_folds(NOTES, FOLDS, tiny_config(tiny_base, tmp_path / "x"))
    further = tiny_config(tmp_path / "x" / "fold-{fold}", tmp_path / "y")
    folds = train_folds(NOTES, FOLDS, further)
    assert [training_text_hashes(str(fold.extractor.model)) for fold in folds] == [
        training_text_hashes(str(tmp_path / "x" / f"fold-{k}")) for k in (0, 1)
    ]
    with pytest.raises(ConfigError, match="fold-1: 1 evaluation notes are in its training data"):
        train_folds(NOTES, FOLDS, tiny_config(tmp_path / "x" / "fold-1", tmp_path / "z"))
    assert not (tmp_path / "z").exists()
    manifest = tmp_path / "x" / "fold-0" / "spanlake.json"
    manifest.write_text(manifest.read_text().replace("training_text_hashes", "other"))
    with pytest.raises(ConfigError, match="does not record its training data"):
        train_folds(NOTES, FOLDS, further)


def test_folds_are_read_with_context(trainings, tiny_base: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_base, tmp_path, max_packed_sentences=5)
    [first, _] = train_folds(NOTES, FOLDS, config)
    assert first.load().context == 0, "context helps in training only"
    assert crossvalidation.with_context(first, 2).load().context == 2


def test_an_evaluation_note_under_another_id_is_found() -> None:
    text = NOTES[0].note.note_text
    with pytest.raises(DataError, match="1 evaluation notes are in the training data: a"):
        require_disjoint([gold_note("other", text)], NOTES)
    require_disjoint([gold_note("a", "Another note."), gold_note("b", "")], NOTES)


def test_notes_without_a_fold_or_given_twice_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_base, tmp_path)
    with pytest.raises(DataError, match="1 notes have no fold: c"):
        train_folds(NOTES, {"a": 0, "b": 1}, config)
    with pytest.raises(DataError, match="a note id occurs twice"):
        train_folds([*NOTES, NOTES[0]], FOLDS, config)


def test_a_file_of_folds_is_read_and_a_wrong_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "folds.tsv"
    path.write_text("note_id\tbatch\tfold\na\tx\t0\nb\ty\t1\n")
    assert crossvalidation.read_folds(path) == {"a": 0, "b": 1}
    path.write_text("id\tgroup\na\t0\n")
    with pytest.raises(DataError, match="needed: tab-separated columns note_id and fold"):
        crossvalidation.read_folds(path)


def test_folds_without_text_are_no_calibration_data(
    trainings, tiny_base: Path, tmp_path: Path
) -> None:
    folds = train_folds(NOTES, {"a": 0, "b": 0, "c": 1}, tiny_config(tiny_base, tmp_path), [1])
    with pytest.raises(DataError, match="no notes to calibrate on"):
        crossvalidation.calibrate(folds, KIWI)


@pytest.mark.parametrize(("main", "pairs"), [(2.0, 1.5), (0.7, 1.0)])
def test_known_temperatures_are_recovered(main: float, pairs: float) -> None:
    random = np.random.default_rng(1)
    layers = [9, 33]
    tags = [random.dirichlet(np.full(size, 0.3), 4000) for size in layers]
    gold = [np.eye(size)[[random.choice(size, p=row) for row in layer]]
            for size, layer in zip(layers, tags, strict=True)]  # fmt: skip
    linked = random.uniform(size=(4000, 1))
    related = (random.uniform(size=(4000, 1)) < linked).astype(float)
    inverse = Calibration((1 / main, 1.0), 1 / pairs)
    predictions = Predictions(
        inverse.of_tags(np.concatenate(tags, axis=1), layers),
        np.concatenate(gold, axis=1),
        inverse.of_pairs(linked),
        related,
    )
    fitted = fit_calibration([predictions], KIWI)
    assert fitted.tags == pytest.approx((main, 1.0), rel=0.06)
    assert fitted.pairs == pytest.approx(pairs, rel=0.06)


def test_temperature_scaling_keeps_order_sum_and_zeros() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 0.0]])
    scaled = temperature_scaled(probabilities, 2.0)
    assert scaled[0].sum() == pytest.approx(1.0)
    assert (np.diff(scaled[0]) < 0).all()
    assert scaled[0, 0] < 0.7
    assert not scaled[1].any()
    assert temperature_scaled(probabilities, 1.0) is probabilities


def test_predictions_have_a_gold_row_for_every_seen_word(trained) -> None:
    predictions = predict(NOTES, OnePassTagger(tagger_at(trained[0])))
    assert predictions.tags.shape == predictions.gold_tags.shape
    assert np.allclose(predictions.gold_tags.sum(axis=1), 2)
    assert np.allclose(predictions.tags.sum(axis=1), 2)
    assert predictions.pairs.shape == predictions.gold_pairs.shape
    relations = sum(len(gold.annotation.relations) for gold in NOTES)
    assert predictions.gold_pairs.sum() == relations


def test_a_tagger_gives_every_kind_of_probability(trained) -> None:
    tagger = OnePassTagger(tagger_at(trained[0], entity_threshold=0.0))
    notes = scored_notes(NOTES, tagger)
    outcomes = score_outcomes(notes, tagger.labels)
    assert list(outcomes) == ["main spans", "modifier spans", "relations", "sentences"]
    spans = sum(len(outcomes[f"{layer} spans"][0]) for layer in ("main", "modifier"))
    assert spans == sum(len(scored.predicted.entities) for scored in notes) > 0
    for probability, right in outcomes.values():
        assert ((probability >= 0) & (probability <= 1)).all()
        assert len(probability) == len(right) > 0
    assert outcomes["sentences"][1].any(), "some training sentences are predicted exactly"


@pytest.fixture
def arguments(tiny_base: Path, tmp_path: Path) -> list[str]:
    write_brat(tmp_path / "notes", NOTES)
    (tmp_path / "folds.tsv").write_text("note_id\tfold\na\t0\nb\t1\nc\t1\n")
    (tmp_path / "train.yml").write_text(
        f"kind: tagger\nmodel: {tiny_base}\ntrain_data: {tmp_path / 'notes'}\n"
        f"output_dir: {tmp_path / 'to'}\n"
        "epochs: 1\nmax_tokens: 32\nstride: 8\nmax_packed_sentences: 3\n"
    )
    return ["--config", str(tmp_path / "train.yml"), "--folds", str(tmp_path / "folds.tsv")]


def test_the_job_trains_scores_and_does_not_train_twice(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output_dir, out = tmp_path / "to", tmp_path / "out"
    assert main(["crossvalidate", *arguments]) == 0
    assert {path.name for path in output_dir.iterdir()} == RESULTS | {"fold-0", "fold-1"}
    assert set(read_notes(output_dir / "notes.json")) == {"a", "b", "c"}
    assert {"tags", "pairs"} <= set(json.loads((output_dir / "calibration.json").read_text()))
    printed = capsys.readouterr().out
    assert "main strict F1" in printed and "calibrated on the same notes" in printed
    trained = (output_dir / "fold-0" / "model.safetensors").stat().st_mtime_ns
    assert main(["crossvalidate", *arguments, "--only", "0", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == RESULTS
    assert set(read_notes(out / "notes.json")) == {"a"}
    near = tmp_path / "near"
    assert (
        main(["crossvalidate", *arguments, "--only", "0", "--context", "1", "--out", str(near)])
        == 0
    )
    assert (near / "calibration.json").read_text() != (out / "calibration.json").read_text()
    assert (output_dir / "fold-0" / "model.safetensors").stat().st_mtime_ns == trained


@pytest.mark.parametrize("other", [["--only", "0"], ["--context", "1"], ["--with", "x"]])
def test_other_scores_need_a_folder_of_their_own(
    arguments: list[str], other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crossvalidate", *arguments, *other]) == 1
    assert "need --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (["--context", "2"], "needs models trained with max_packed_sentences 5 or more, found 3"),
        (["--with", "nowhere"], "--with nowhere: no fold-0; train that run first"),
    ],
)
def test_unusable_options_are_refused_before_training(
    arguments: list[str], other: list[str], message: str, tmp_path: Path, capsys
) -> None:
    assert main(["crossvalidate", *arguments, *other, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_members_of_other_folds_are_refused_before_training(
    trainings, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds, x, out = tmp_path / "folds.tsv", tmp_path / "x", tmp_path / "out"
    assert main(["crossvalidate", *arguments, "--set", f"output_dir={x}"]) == 0
    folds.write_text("note_id\tfold\na\t1\nb\t0\nc\t1\n")
    assert main(["crossvalidate", *arguments, "--with", str(x), "--out", str(out)]) == 1
    assert "fold-0: 1 evaluation notes are in its training data" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_an_error_is_a_line_and_an_exit_code(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folds.tsv").write_text("note_id\tfold\na\t0\n")
    assert main(["crossvalidate", *arguments]) == 1
    assert "DataError: 2 notes have no fold: b, c" in capsys.readouterr().err
