from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_recipe import RATES
from unlabelled_source import write_source

from gold_notes import NOTES

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.extract import ExtractorConfig  # noqa: E402
from spanlake.config.train import DistilConfig, TaggerTrainConfig  # noqa: E402
from spanlake.core.types import Unit  # noqa: E402
from spanlake.errors import ModelError  # noqa: E402
from spanlake.models.tagger.extractor import OnePassTagger  # noqa: E402
from spanlake.training import distilling  # noqa: E402
from spanlake.training.apart import learnt_by  # noqa: E402
from spanlake.training.distilling import distil, silver_targets, texts_of  # noqa: E402
from spanlake.training.tagger import train_tagger  # noqa: E402

TEXTS = texts_of([gold.note for gold in NOTES])
UNITS = [Unit(text) for text in TEXTS]


@pytest.fixture(scope="module")
def teachers(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    top = tmp_path_factory.mktemp("teachers")
    for seed in (1, 2):
        values = {"model": str(tiny_base), "train": "x", "to": str(top / str(seed)), "seed": seed}
        config = TaggerTrainConfig.model_validate(
            RATES | values | {"epochs": 15, "batch_tokens": 64}
        )
        train_tagger(NOTES, [], config)
    return [str(top / str(seed)) for seed in (1, 2)]


def _read(**options) -> OnePassTagger:
    values = {"kind": "tagger", "max_tokens": 32, "stride": 8}
    return OnePassTagger(ExtractorConfig.model_validate(values | options))


def test_an_ensemble_gives_the_mean_of_its_models(teachers: list[str]) -> None:
    together = _read(models=teachers)
    alone = [_read(model=name) for name in teachers]
    both = [one.read(UNITS) for one in alone]
    for joint, first, second in zip(together.read(UNITS), *both, strict=True):
        mean = (first.probabilities + second.probabilities) / 2
        assert np.allclose(joint.probabilities, mean)
    assert len({together.fingerprint, *(one.fingerprint for one in alone)}) == 3
    entities = [one.entities for one in together.extract(UNITS)]
    given = [
        [row for _, row in one.pair_scores(one.read(UNITS), entities)] for one in (together, *alone)
    ]
    for joint, first, second in zip(*given, strict=True):
        assert np.allclose(joint, (first + second) / 2)


def test_a_student_learns_what_its_teachers_say(
    tiny_base: Path, teachers: list[str], tmp_path: Path
) -> None:
    config = DistilConfig.model_validate(
        RATES
        | write_source(tmp_path)
        | {"model": str(tiny_base), "to": str(tmp_path / "student"), "teachers": teachers}
        | {"epochs": 40, "batch_tokens": 128}
    )
    metrics = distil(config)
    assert metrics["loss_by_epoch"][-1] < metrics["loss_by_epoch"][0]
    student, teacher = _read(model=config.to), _read(models=teachers)
    said = [
        {e.key for answer in one.extract(UNITS) for e in answer.entities}
        for one in (student, teacher)
    ]
    assert len(said[0] & said[1]) > 0.7 * len(said[1]) > 5
    assert distil(config) == metrics  # not made again
    assert learnt_by(config.to) == learnt_by(teachers[0]) != set()


def test_what_the_teachers_said_is_not_asked_twice(
    teachers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = _read(models=teachers)
    first = list(silver_targets(TEXTS, teacher, tmp_path))
    monkeypatch.setattr(distilling, "_ask", None)
    again = list(silver_targets(TEXTS, teacher, tmp_path))
    assert sum(len(target.pairs) for target in first) > 3
    for one, other in zip(first, again, strict=True):
        assert one.pairs == other.pairs
        assert len(one.related) == len(one.pairs) == len(one.told)
        assert (one.tags == other.tags).all()
        assert np.allclose(one.tags.sum(), 2 * len(one.words), atol=0.05 * len(one.words))


def test_the_student_may_change_without_asking_again(
    tiny_base: Path, teachers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = [], distilling._ask
    monkeypatch.setattr(distilling, "_ask", lambda *all_: asked.append(1) or ask(*all_))
    config = DistilConfig.model_validate(
        RATES
        | write_source(tmp_path)
        | {"model": str(tiny_base), "to": str(tmp_path / "student"), "teachers": teachers}
        | {"epochs": 1, "batch_tokens": 128}
    )
    (tmp_path / "no_encoder").mkdir()
    with pytest.raises(ModelError):
        distil(config.model_copy(update={"model": str(tmp_path / "no_encoder")}))
    assert not asked, "a student that cannot learn needs no teachers"
    monkeypatch.setattr(distilling, "fit", None)
    with pytest.raises(TypeError):
        distil(config)
    assert len(asked) == 1
    monkeypatch.undo()
    monkeypatch.setattr(distilling, "_ask", None)
    assert distil(config.model_copy(update={"dropout": 0.1}))["texts"] > 0
    assert not list(Path(config.to).glob(".*")), "what they said is not left behind"


def test_a_tagger_can_be_trained_further(teachers: list[str], tmp_path: Path) -> None:
    values = {"model": teachers[0], "train": "x", "to": str(tmp_path / "on"), "epochs": 1}
    rates = {"learning_rate": 1e-9, "head_learning_rate": 1e-9, "weight_decay": 0.0}
    train_tagger(NOTES, [], TaggerTrainConfig.model_validate(RATES | values | rates))
    before, after = (
        _read(model=teachers[0]).read(UNITS),
        _read(model=str(tmp_path / "on")).read(UNITS),
    )
    for one, other in zip(before, after, strict=True):
        assert np.allclose(one.probabilities, other.probabilities, atol=1e-3)


def test_a_tagger_of_another_label_set_is_no_start(teachers: list[str], tmp_path: Path) -> None:
    values = {"model": teachers[0], "train": "x", "to": str(tmp_path / "on"), "labels": "bc5cdr"}
    with pytest.raises(ModelError, match="label set"):
        train_tagger(NOTES, [], TaggerTrainConfig.model_validate(RATES | values))
