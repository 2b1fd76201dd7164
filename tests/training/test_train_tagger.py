from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gold_notes import NOTES

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.core.bio import words  # noqa: E402
from spanlake.core.config import ExtractorConfig  # noqa: E402
from spanlake.core.errors import ModelError  # noqa: E402
from spanlake.core.train_config import TaggerTrainConfig  # noqa: E402
from spanlake.core.units import Unit  # noqa: E402
from spanlake.models.tagger.engines import ENCODER  # noqa: E402
from spanlake.models.tagger.extractor import OnePassTagger  # noqa: E402
from spanlake.models.tagger.folder import WEIGHTS  # noqa: E402
from spanlake.training import tagger as training  # noqa: E402
from spanlake.training.batches import LengthBatches  # noqa: E402

TEXTS = [gold.note.note_text for gold in NOTES] + [
    "Na\u0301usea 😀 and cafe\u0301-au-lait spots, İstanbul\u200d score 3.5×10⁹\u00a0/L",
    "\u200d\u200d",
    "Metformin 500 mg by mouth twice daily for diabetes mellitus. " * 12,
]


def _config(base: Path, to: Path, **options) -> TaggerTrainConfig:
    values = {
        "kind": "tagger",
        "model": str(base),
        "train": "notes",
        "to": str(to),
        "epochs": 30,
        "learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
        "weight_average": 0.5,
        "batch_tokens": 64,
        "max_tokens": 32,
        "stride": 8,
        "dropout": 0.0,
    }
    return TaggerTrainConfig.model_validate(values | options)


def _load(folder: Path, **options) -> OnePassTagger:
    values = {"kind": "tagger", "model": str(folder), "max_tokens": 32, "stride": 8}
    return OnePassTagger(ExtractorConfig.model_validate(values | options))


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    to = tmp_path_factory.mktemp("trained") / "tagger"
    return to, training.train_tagger(NOTES, NOTES, _config(tiny_base, to))


def test_one_model_learns_entities_of_both_layers_and_their_relations(trained) -> None:
    to, metrics = trained
    for name in ("main", "modifier", "relations_gold_entities"):
        assert metrics["dev"][name]["f1"] > 0.8
    assert metrics["loss_by_epoch"][-1] < metrics["loss_by_epoch"][0]
    assert json.loads((to / "metrics.json").read_text()) == metrics


def test_openvino_and_torch_give_the_same_answers(trained, tmp_path: Path) -> None:
    to, _ = trained
    without_graphs = tmp_path / "torch"
    without_graphs.mkdir()
    for path in to.iterdir():
        if path.suffix not in (".xml", ".bin"):
            (without_graphs / path.name).write_bytes(path.read_bytes())
    units = [Unit(text) for text in TEXTS]
    by_graphs, by_torch = _load(to), _load(without_graphs)
    assert "openvino" in by_graphs.device
    assert "torch" in by_torch.device
    assert by_graphs.fingerprint == by_torch.fingerprint
    for mine, theirs in zip(by_graphs.extract(units), by_torch.extract(units), strict=True):
        assert [e.key for e in mine.entities] == [e.key for e in theirs.entities]
        assert [(r.head, r.tail) for r in mine.relations] == [
            (r.head, r.tail) for r in theirs.relations
        ]
        scores = [[e.score for e in one.entities] for one in (mine, theirs)]
        assert np.allclose(*scores, atol=5e-3)  # the graphs' weights are stored as float16


def test_no_entity_starts_or_ends_inside_a_word_and_all_characters_are_seen(trained) -> None:
    answers = _load(trained[0]).extract([Unit(text) for text in TEXTS])
    for text, answer in zip(TEXTS, answers, strict=True):
        edges = {edge for word in words(text) for edge in (word.start, word.end)}
        assert all({entity.start, entity.end} <= edges for entity in answer.entities)
        assert answer.chars_seen == len(text)


def test_an_answer_does_not_depend_on_the_batch(trained) -> None:
    model = _load(trained[0])
    together = model.extract([Unit(text) for text in TEXTS])
    alone = [model.extract([Unit(text)])[0] for text in TEXTS]
    for mine, theirs in zip(together, alone, strict=True):
        assert [e.key for e in mine.entities] == [e.key for e in theirs.entities]


def test_extract_and_link_agree_on_relations(trained) -> None:
    model = _load(trained[0])
    units = [Unit(text) for text in TEXTS]
    answers = model.extract(units)
    assert any(answer.relations for answer in answers)
    linked = model.link(units, [answer.entities for answer in answers])
    for answer, relations in zip(answers, linked, strict=True):
        pairs = [(r.head, r.tail) for r in answer.relations]
        assert pairs == [(r.head, r.tail) for r in relations]


def test_a_changed_file_is_refused(trained, tmp_path: Path) -> None:
    to, _ = trained
    for path in to.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / ENCODER).write_text("<net/>")
    with pytest.raises(ModelError, match=r"encoder.xml is not the file that was trained"):
        _load(tmp_path)


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = training.train_tagger(NOTES, [], _config(tiny_base, whole, epochs=4))
    on_save = training.WeightAverage.on_save

    def die_in_third_epoch(self, args, state, control, **rest):
        on_save(self, args, state, control, **rest)
        if state.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.WeightAverage, "on_save", die_in_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        training.train_tagger(NOTES, [], _config(tiny_base, broken, epochs=4))
    monkeypatch.undo()
    found = training.train_tagger(NOTES, [], _config(tiny_base, broken, epochs=4))
    assert found["loss_by_epoch"] == expected["loss_by_epoch"]
    assert (broken / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def test_batches_hold_every_sequence_once_and_differ_between_epochs() -> None:
    lengths = [5 + i % 37 for i in range(500)]
    batches = LengthBatches(lengths, tokens=200, seed=1)
    epochs = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
        assert sorted(i for batch in batches for i in batch) == list(range(500))
        assert all(len(b) * max(lengths[i] for i in b) <= 200 for b in batches)
    assert epochs[0] != epochs[1]
