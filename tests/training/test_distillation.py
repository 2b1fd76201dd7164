"""Ensembles as teachers, their soft labels, and the student that is trained on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_training import OVERFIT, tagger_at, tiny_config

from gold_notes import NOTES
from spanlake.config.train import DistilConfig
from spanlake.core.types import Unit
from spanlake.errors import ModelError
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.training import distillation
from spanlake.training.distillation import different_sentences, distil, soft_labels
from spanlake.training.leakage import training_text_hashes
from spanlake.training.tagger import train_tagger
from unlabelled_notes import write_unlabelled

TEXTS = different_sentences([gold.note for gold in NOTES])
UNITS = [Unit(text) for text in TEXTS]


@pytest.fixture(scope="module")
def teachers(trained, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    second = tmp_path_factory.mktemp("teacher") / "second"
    train_tagger(NOTES, [], tiny_config(tiny_base, second, seed=1, epochs=15), export=False)
    return str(trained[0]), str(second)


def _ensemble(teachers: tuple[str, str]) -> OnePassTagger:
    return OnePassTagger(tagger_at(teachers[0], model=None, models=teachers))


def _config(base: Path, tmp_path: Path, teachers: tuple[str, str], **options: Any) -> DistilConfig:
    values = {"model": str(base), "output_dir": str(tmp_path / "student"), "teachers": teachers}
    return DistilConfig.model_validate(
        OVERFIT | write_unlabelled(tmp_path) | values | {"max_tokens_per_batch": 128} | options
    )


def test_an_ensemble_gives_the_mean_of_its_models(teachers: tuple[str, str]) -> None:
    ensemble = _ensemble(teachers)
    alone = [OnePassTagger(tagger_at(name)) for name in teachers]
    both = [tagger.read(UNITS) for tagger in alone]
    for mean, first, second in zip(ensemble.read(UNITS), *both, strict=True):
        assert np.allclose(mean.probabilities, (first.probabilities + second.probabilities) / 2)
    assert len({ensemble.fingerprint, *(tagger.fingerprint for tagger in alone)}) == 3
    entities = [answer.entities for answer in ensemble.extract(UNITS)]
    scores = [
        [row for _, row in tagger.pair_scores(tagger.read(UNITS), entities)]
        for tagger in (ensemble, *alone)
    ]
    for mean, first, second in zip(*scores, strict=True):
        assert np.allclose(mean, (first + second) / 2)


def test_a_student_predicts_what_its_teachers_predict(
    tiny_base: Path, teachers: tuple[str, str], tmp_path: Path
) -> None:
    config = _config(tiny_base, tmp_path, teachers, epochs=40)
    metrics = distil(config, export=False)
    assert metrics["loss_by_epoch"][-1] < metrics["loss_by_epoch"][0]
    by_student, by_teachers = (
        {entity.key for answer in tagger.extract(UNITS) for entity in answer.entities}
        for tagger in (OnePassTagger(tagger_at(config.output_dir)), _ensemble(teachers))
    )
    assert len(by_student & by_teachers) > 0.7 * len(by_teachers) > 5
    assert distil(config, export=False) == metrics, "not trained again"
    hashes = training_text_hashes(config.output_dir)
    assert hashes == training_text_hashes(teachers[0]) != set()


def test_soft_labels_are_predicted_once(
    teachers: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble = _ensemble(teachers)
    first = list(soft_labels(TEXTS, ensemble, tmp_path))
    monkeypatch.setattr(distillation, "_predict", None)
    again = list(soft_labels(TEXTS, ensemble, tmp_path))
    assert sum(len(text.pairs) for text in first) > 3
    for text, same in zip(first, again, strict=True):
        assert text.pairs == same.pairs
        assert len(text.pair_labels) == len(text.pairs) == len(text.pair_features)
        assert (text.tags == same.tags).all()
        assert np.allclose(text.tags.sum(), 2 * len(text.words), atol=0.05 * len(text.words))


def test_another_student_uses_the_same_soft_labels(
    tiny_base: Path, teachers: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, predict = [], distillation._predict
    monkeypatch.setattr(distillation, "_predict", lambda *a: calls.append(1) or predict(*a))
    config = _config(tiny_base, tmp_path, teachers, epochs=1)
    (tmp_path / "no_encoder").mkdir()
    with pytest.raises(ModelError):
        distil(config.model_copy(update={"model": str(tmp_path / "no_encoder")}))
    assert not calls, "a student that cannot be trained needs no teachers"
    monkeypatch.setattr(distillation, "finetune", None)
    with pytest.raises(TypeError):
        distil(config)
    assert len(calls) == 1
    monkeypatch.undo()
    monkeypatch.setattr(distillation, "_predict", None)
    assert distil(config.model_copy(update={"dropout": 0.1}), export=False)["texts"] > 0
    assert not list(Path(config.output_dir).glob(".*")), "soft labels and checkpoints are removed"
