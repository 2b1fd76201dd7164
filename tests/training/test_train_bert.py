from __future__ import annotations

import json
from pathlib import Path

import pytest

from gold_notes import NOTES, gold_note
from spanlake.config.extractors import extractor_config
from spanlake.config.train import BertTrainConfig
from spanlake.core.types import Relation, Unit
from spanlake.errors import DataError
from spanlake.models.bert import Bert
from spanlake.training import bert, examples
from spanlake.training.bert import train_bert


def _config(base: Path, to: Path, **options) -> BertTrainConfig:
    values = {
        "model": str(base),
        "train_data": "notes",
        "output_dir": str(to),
        "epochs": 20,
        "relation_epochs": 20,
        "learning_rate": 1e-2,
        "relation_learning_rate": 1e-2,
        "batch_size": 4,
        "max_tokens": 32,
        "stride": 8,
    }
    return BertTrainConfig.model_validate(values | options)


def _answers(folder: Path) -> list:
    config = {"kind": "bert", "model": str(folder), "max_tokens": 32, "stride": 8}
    bert = Bert(extractor_config(**config))
    return bert.extract([Unit(gold.note.note_text) for gold in NOTES])


@pytest.fixture(scope="module")
def trained_bert(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    to = tmp_path_factory.mktemp("trained") / "bert"
    return to, train_bert(NOTES, NOTES, _config(tiny_base, to))


def test_all_three_models_are_learned(trained_bert) -> None:
    to, metrics = trained_bert
    assert metrics["eval"]["main"]["f1"] > 0.6
    assert metrics["eval"]["modifier"]["f1"] > 0.6
    assert metrics["eval"]["relations_gold_entities"]["recall"] > 0.6
    for model in metrics["models"].values():
        assert model["loss_by_epoch"][-1] < model["loss_by_epoch"][0]
    assert json.loads((to / "metrics.json").read_text()) == metrics


def test_a_reloaded_model_gives_the_same_answers(trained_bert) -> None:
    to, _ = trained_bert
    assert _answers(to) == _answers(to)
    assert any(answer.relations for answer in _answers(to))


def test_a_folder_holds_safetensors_and_no_checkpoints(trained_bert) -> None:
    to, _ = trained_bert
    files = {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()}
    for part in ("main", "modifier", "relation"):
        assert f"{part}/model.safetensors" in files
        assert f"{part}/tokenizer.json" in files
    assert {Path(name).suffix for name in files} == {".json", ".safetensors"}
    assert not any("checkpoint" in name or "training" in name for name in files)


def test_the_manifest_names_every_file(trained_bert) -> None:
    to, _ = trained_bert
    manifest = json.loads((to / "spanlake.json").read_text())
    on_disk = {path.relative_to(to).as_posix() for path in to.glob("*/*")}
    assert set(manifest["files"]) == on_disk
    assert manifest["training"]["recipe"]["seed"] == 42


def test_a_finished_training_is_not_repeated(tiny_base: Path, trained_bert, monkeypatch) -> None:
    to, metrics = trained_bert
    monkeypatch.setattr(
        "spanlake.training.bert._train_part", lambda *_: pytest.fail("trained again")
    )
    assert train_bert(NOTES, NOTES, _config(tiny_base, to)) == metrics


def test_a_killed_training_resumes_from_its_last_epoch(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained_bert
) -> None:
    config = _config(tiny_base, tmp_path / "bert")
    steps, kill_at = 0, 50  # in the second model
    collate = bert.collate

    def counting(features, pad_id):
        nonlocal steps
        steps += 1
        if steps == kill_at:
            raise KeyboardInterrupt
        return collate(features, pad_id)

    monkeypatch.setattr("spanlake.training.bert.collate", counting)
    with pytest.raises(KeyboardInterrupt):
        train_bert(NOTES, NOTES, config)
    assert not (tmp_path / "bert" / "spanlake.json").exists()
    assert list((tmp_path / "bert" / ".training").glob("modifier/checkpoint-*"))
    steps = kill_at  # from here on without a kill
    metrics = train_bert(NOTES, NOTES, config)
    whole = trained_bert[1]
    total = sum(model["steps"] for model in whole["models"].values())
    assert steps - total <= 2, "the broken epoch is repeated, and no more"
    losses = {name: model["loss_by_epoch"] for name, model in metrics["models"].items()}
    assert losses == {name: model["loss_by_epoch"] for name, model in whole["models"].items()}
    assert metrics["eval"] == whole["eval"]
    assert _answers(tmp_path / "bert") == _answers(trained_bert[0])


def test_another_recipe_starts_over_when_asked(tiny_base: Path, tmp_path: Path) -> None:
    to = tmp_path / "bert"
    for seed in (1, 2):
        metrics = train_bert(
            NOTES, [], _config(tiny_base, to, epochs=1, relation_epochs=1, seed=seed, resume=False)
        )
        assert metrics["recipe"]["seed"] == seed
        assert metrics["eval"] is None


def test_annotation_across_sentence_boundaries_is_counted() -> None:
    note = gold_note(
        "d",
        "Chest pain. Denies fever. Cough",
        ("Chest pain", "problem"),
        ("Denies", "negation"),
        ("pain. Denies", "problem"),
        ("fever", "problem"),
        relations=[(0, 1), (3, 1)],
    )
    sentences, counts = examples.examples_of([note])
    assert [len(example.gold.entities) for example in sentences] == [1, 2, 0]
    assert sentences[1].gold.relations == (Relation(1, 0, "hasAttr"),)
    assert dict(counts) == {
        "notes": 1,
        "sentences": 3,
        "entities": 4,
        "entities_cut": 1,
        "relations": 2,
        "relations_cut": 1,
    }


def test_a_word_in_two_windows_is_labelled_in_one(tiny_base: Path) -> None:
    from spanlake.core.labels import load_labels
    from spanlake.models.tokenization import load_word_tokenizer

    text = "denies chest pain or fever " * 8
    labels, pieces = load_labels("kiwi"), load_word_tokenizer(tiny_base)
    [note] = [gold_note("e", text, ("chest pain", "problem"))]
    example = examples.Example(Unit(text), note.annotation)
    features, _ = bert.tagged_windows([example], pieces, labels, "main", limit=20, stride=6)
    assert len(features) > 2
    assert all(len(f["input_ids"]) == len(f["labels"]) <= 22 for f in features)
    learnt = [number for f in features for number in f["labels"] if number != bert.IGNORED]
    assert learnt == [0, 1, 2] + [0] * 37


def test_wrong_options_are_refused_before_training(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stride"):
        _config(tiny_base, tmp_path, stride=20)
    with pytest.raises(DataError, match="main"):
        train_bert([NOTES[2]], [], _config(tiny_base, tmp_path))
