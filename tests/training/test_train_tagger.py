from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_recipe import tiny_recipe

from gold_notes import NOTES, gold_note

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from spanlake.cli import main  # noqa: E402
from spanlake.config.extract import ExtractorConfig  # noqa: E402
from spanlake.core.bio import words  # noqa: E402
from spanlake.core.labels import load_labels  # noqa: E402
from spanlake.core.types import Annotation, Unit, entity_at, units_of  # noqa: E402  # noqa: E402
from spanlake.corpora import write_brat  # noqa: E402
from spanlake.errors import ConfigError, ModelError  # noqa: E402
from spanlake.models.tagger import reader  # noqa: E402
from spanlake.models.tagger.engines import ENCODER  # noqa: E402
from spanlake.models.tagger.extractor import OnePassTagger  # noqa: E402
from spanlake.models.tagger.folder import WEIGHTS  # noqa: E402
from spanlake.scoring.score_extractor import scored_notes  # noqa: E402
from spanlake.text.sentences import split  # noqa: E402
from spanlake.training import tagger as training  # noqa: E402
from spanlake.training.batches import LengthBatches  # noqa: E402
from spanlake.training.datasets import Example, examples_of  # noqa: E402
from spanlake.training.evaluation import strict_scores  # noqa: E402
from spanlake.training.joint import (  # noqa: E402
    collate_joint,
    gold_targets,
    joint_features,
    parts_of,
)
from spanlake.training.start import start_of  # noqa: E402

TEXTS = [gold.note.note_text for gold in NOTES] + [
    "Na\u0301usea 😀 and cafe\u0301-au-lait spots, İstanbul\u200d score 3.5×10⁹\u00a0/L",
    "\u200d\u200d",
    "Metformin 500 mg by mouth twice daily for diabetes mellitus. " * 12,
]


def _load(folder: Path, **options) -> OnePassTagger:
    values = {"kind": "tagger", "model": str(folder), "max_tokens": 32, "stride": 8}
    return OnePassTagger(ExtractorConfig.model_validate(values | options))


def _features(targets: Any, one: reader.Reader, **options: Any) -> list[Any]:
    parts = parts_of(targets, one.pieces, limit=one.limit, stride=8)
    return joint_features(parts, one.pieces, limit=one.limit, **options)


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    to = tmp_path_factory.mktemp("trained") / "tagger"
    return to, training.train_tagger(NOTES, NOTES, tiny_recipe(tiny_base, to))


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
        assert answer.confidence is not None
        pairs = [(r.head, r.tail) for r in answer.relations]
        assert pairs == [(r.head, r.tail) for r in relations]


def test_what_is_learnt_of_a_pair_is_what_is_read_of_it(trained, tiny_base: Path) -> None:
    """Training gathers states by pieces, extraction by words: the same rows must come out."""
    text = "\u200d zosteriform rash denies cholecystectomy " + "or fever and chills " * 6 + "daily"
    parts = [("zosteriform rash", "problem"), ("denies", "negation"), ("daily", "temporal")]
    gold = gold_note("x", text, *parts).annotation
    model = _load(trained[0], max_pair_words=60)
    [reader] = model.readers
    targets, _ = gold_targets([Example(Unit(text), gold)], model.labels, max_pair_words=60)
    features = _features(targets, reader)
    assert len(features) > 1, "the text needs several windows"
    [read] = model.read([Unit(text)])
    asked = model.asked(read, gold.entities)
    assert asked.places == [(0, 1), (0, 2)]
    batch = collate_joint(features[:1], reader.pieces.pad)
    _, states = reader.engine.encode(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    ends = states[batch["rows"].numpy()[:, None], batch["places"].numpy()].reshape(1, -1)
    words_of_ends = [edge for first, last in asked.words[0] for edge in (first, last - 1)]
    assert np.allclose(ends[0], read.reads[0].states[words_of_ends].ravel(), atol=1e-5)
    assert (batch["pair_features"].numpy() == asked.told[:1]).all()


def test_a_relation_is_as_probable_as_its_link_and_both_its_ends(trained) -> None:
    model = _load(trained[0], relation_threshold=0.0)
    texts = model.read([Unit(text) for text in TEXTS])
    entities = [model.entities(text)[0] for text in texts]
    linked = [dict(zip(*one, strict=True)) for one in model.pair_scores(texts, entities)]
    answers = model.extract([Unit(text) for text in TEXTS])
    found = [
        (r, a.entities, one) for a, one in zip(answers, linked, strict=True) for r in a.relations
    ]
    assert found
    for relation, mine, scores in found:
        ends = mine[relation.head].score * mine[relation.tail].score
        assert relation.score == pytest.approx(
            scores[relation.head, relation.tail][0] * ends, abs=1e-5
        )
    least = max(relation.score for relation, _, _ in found)
    strict = _load(trained[0], relation_threshold=least - 1e-6)
    kept = [r for a in strict.extract([Unit(text) for text in TEXTS]) for r in a.relations]
    assert 0 < len(kept) < len(found)


def test_a_pair_with_a_word_that_leaves_no_pieces_is_not_scored(trained) -> None:
    text = "\u200d daily"
    entities = [entity_at(text, 0, 1, "problem"), entity_at(text, 2, 7, "temporal")]
    assert _load(trained[0], pair_threshold=0.0).link([Unit(text)], [entities]) == [[]]


def test_texts_without_any_piece_do_not_spoil_a_training(tiny_base: Path, tmp_path: Path) -> None:
    notes = [*NOTES, *(gold_note(f"z{i}", "\u200d\u200d") for i in range(4))]
    metrics = training.train_tagger(notes, NOTES, tiny_recipe(tiny_base, tmp_path / "t", epochs=3))
    assert metrics["data"]["sentences"] - metrics["examples"] == 4
    assert np.isfinite(metrics["loss_by_epoch"]).all()


def test_a_model_of_another_recipe_is_replaced_only_when_asked(
    tiny_base: Path, tmp_path: Path
) -> None:
    to = tmp_path / "t"
    training.train_tagger(NOTES, NOTES, tiny_recipe(tiny_base, to, epochs=1, seed=1))
    other = tiny_recipe(tiny_base, to, epochs=1, seed=2)
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    with pytest.raises(ConfigError, match=r"another recipe \(differs in seed\)"):
        training.train_tagger(NOTES, NOTES, other)
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    anew = other.model_copy(update={"resume": False})
    assert training.train_tagger(NOTES, NOTES, anew)["recipe"]["seed"] == 2
    assert _load(to).extract([Unit("No fever.")])[0].outcome == "ok"


def test_graphs_alone_are_read_on_the_cpu_even_where_a_gpu_is(
    trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in trained[0].iterdir():
        if path.name != WEIGHTS:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(reader, "_has_gpu", lambda: True)
    assert "openvino" in _load(tmp_path).device
    (tmp_path / "linker.bin").unlink()
    with pytest.raises(ModelError, match=r"linker.bin missing"):
        _load(tmp_path)


def test_other_pieces_positions_or_labels_are_another_fingerprint(trained, tmp_path: Path) -> None:
    manifest = json.loads((trained[0] / "spanlake.json").read_text())
    for path in trained[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "spanlake.json").write_text(json.dumps(manifest | {"longest": 20}))
    assert _load(tmp_path).fingerprint != _load(trained[0]).fingerprint


def test_the_linker_goes_on_learning_and_nothing_else_changes(
    tiny_base: Path, tmp_path: Path
) -> None:
    weights = []
    for epochs in (0, 100):
        to = tmp_path / str(epochs)
        config = tiny_recipe(tiny_base, to, epochs=1, link_epochs=epochs)
        losses = training.train_tagger(NOTES, [], config)["link_loss_by_epoch"]
        assert len(losses) == epochs
        weights.append(load_file(to / WEIGHTS))
    assert losses[-1] < 0.2 * losses[0]
    changed = {name for name, one in weights[0].items() if not one.equal(weights[1][name])}
    assert changed
    assert all(name.startswith("linker.") for name in changed)


def test_wrong_options_show_before_anything_is_trained(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half of max_tokens"):
        tiny_recipe(tiny_base, tmp_path, stride=20)
    for removed in ("mixed_layers", "weight_average", "piece_dropout", "annotators", "auxiliary"):
        with pytest.raises(ValueError, match="Extra inputs"):
            tiny_recipe(tiny_base, tmp_path, **{removed: 1})


def test_a_training_does_not_write_over_what_it_starts_from(trained, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(trained[0], base)
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    for to in (base, tmp_path / "x" / ".." / "base", tmp_path):
        with pytest.raises(ConfigError, match="would write over"):
            training.train_tagger(NOTES, [], tiny_recipe(base, to, epochs=1))
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_what_a_kill_leaves_behind_does_not_stop_a_training(
    tiny_base: Path, tmp_path: Path
) -> None:
    config = tiny_recipe(tiny_base, tmp_path / "t", epochs=1)
    work = tmp_path / "t" / ".training"
    work.mkdir(parents=True)
    (work / "recipe.json").write_text('{"model"')
    training.train_tagger(NOTES, [], config)
    work.mkdir()  # killed after the manifest was written
    training.train_tagger(NOTES, [], config)
    assert not work.exists()


def test_other_options_than_those_of_the_training_are_named(
    trained, caplog: pytest.LogCaptureFixture
) -> None:
    _load(trained[0], max_pair_words=7)
    assert "trained with max_pair_words=20, read with 7" in caplog.text


def test_dropout_of_a_tagger_that_is_trained_further_is_the_recipe_s(trained) -> None:
    config = tiny_recipe(trained[0], Path("x"), dropout=0.3)
    module, _ = start_of(trained[0], load_labels("kiwi"), config)
    shares = (module.dropout.p, module.linker.dropout.p, module.shape.dropout)
    assert shares == (0.3, 0.3, 0.3)


def test_entities_of_white_space_are_no_ends_of_pairs() -> None:
    text = "No  fever."
    entities = (entity_at(text, 0, 2, "negation"), entity_at(text, 2, 4, "negation"))
    gold = Annotation((*entities, entity_at(text, 4, 9, "problem")))
    [target], _ = gold_targets([Example(Unit(text), gold)], load_labels("kiwi"), max_pair_words=9)
    assert target.pairs == [((1, 2), (0, 1))]
    assert len(target.related) == len(target.told) == 1


def test_a_changed_file_is_refused(trained, tmp_path: Path) -> None:
    to, _ = trained
    for path in to.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / ENCODER).write_text("<net/>")
    with pytest.raises(ModelError, match=r"encoder.xml is not the file that was trained"):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("options", "whole_checkpoint"),
    [
        ({}, True),
        ({}, False),  # killed while a checkpoint is written: the one before is gone on from
        ({"together": 5}, True),
        ({"runs": 2}, True),
    ],
)
def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(
    options,
    whole_checkpoint: bool,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = {"epochs": 4, **options}
    expected = training.train_tagger(NOTES, [], tiny_recipe(tiny_base, whole, **options))
    save = training.BatchTrainer._save_checkpoint

    def die_in_third_epoch(self, model, trial):
        dies = self.state.epoch == 3 and self.args.seed == 41 + options.get("runs", 1)
        if dies and not whole_checkpoint:
            self.args.save_total_limit = None  # the rotation comes after a checkpoint
        save(self, model, trial)
        if dies and not whole_checkpoint:
            written = f"checkpoint-{self.state.global_step}/trainer_state.json"
            (Path(self.args.output_dir) / written).unlink()
        if dies:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.BatchTrainer, "_save_checkpoint", die_in_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        training.train_tagger(NOTES, [], tiny_recipe(tiny_base, broken, **options))
    assert list((broken / ".training").rglob("checkpoint-*/trainer_state.json"))
    monkeypatch.setattr(training.BatchTrainer, "_save_checkpoint", save)
    found = training.train_tagger(NOTES, [], tiny_recipe(tiny_base, broken, **options))
    assert found["link_loss_by_epoch"] == expected["link_loss_by_epoch"]
    for mine, whole_run in zip(
        found.get("runs", [found]), expected.get("runs", [expected]), strict=True
    ):
        assert mine["loss_by_epoch"] == whole_run["loss_by_epoch"]
    assert (broken / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def test_several_runs_leave_the_mean_of_what_each_learns(trained, tmp_path: Path) -> None:
    def weights(name: str, **options: Any) -> dict[str, torch.Tensor]:
        config = tiny_recipe(trained[0], tmp_path / name, epochs=2, link_epochs=0, **options)
        training.train_tagger(NOTES[:2], [], config)
        return load_file(tmp_path / name / WEIGHTS)

    first, second = weights("x", seed=1), weights("y", seed=2)
    mean = weights("z", seed=1, runs=2)
    assert not first["tags.weight"].equal(second["tags.weight"])
    for name, found in mean.items():
        assert found.allclose((first[name] + second[name]) / 2, atol=1e-6), name


def test_batches_hold_every_sequence_once_and_differ_between_epochs() -> None:
    lengths = [5 + (i * i) % 37 for i in range(2500)]
    batches = LengthBatches([lengths], tokens=200, seed=1, epochs=12)
    epochs = []
    for epoch in range(12):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
        assert len(epochs[-1]) == len(batches), "the Trainer would drop what is more"
        assert sorted(i % 2500 for batch in batches for i in batch) == list(range(2500))
        assert all(len(b) * max(lengths[i % 2500] for i in b) <= 200 for b in batches)
    assert [sorted(i % 2500 for i in batch) for batch in epochs[0]] != [
        sorted(i % 2500 for i in batch) for batch in epochs[1]
    ]


def test_more_neighbours_than_were_learnt_with_are_refused(trained) -> None:
    with pytest.raises(ConfigError, match="context is 1: the model has learnt with 0"):
        _load(trained[0], context=1)


def test_the_command_says_which_notes_a_model_was_trained_on(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = gold_note("new", "Severe cough.", ("Severe", "severity"), ("cough", "problem"))
    other_id = gold_note("d", NOTES[1].note.note_text)
    write_brat(tmp_path / "gold", [NOTES[0], other_id, new])
    model = ["--set", "extractor.kind=tagger", "--set", f"extractor.model={trained[0]}"]
    call = ["evaluate", "--gold", str(tmp_path / "gold"), "--json", str(tmp_path / "s.json")]
    assert main([*call, *model]) == 0
    assert "the model was trained on 2 of these 3 notes: a, d;" in capsys.readouterr().err
    assert json.loads((tmp_path / "s.json").read_text())["learnt_notes"] == ["a", "d"]
    write_brat(tmp_path / "only", [new])
    assert main(["evaluate", "--gold", str(tmp_path / "only"), *model]) == 0
    assert "trained on" not in capsys.readouterr().err


def test_a_model_without_a_record_of_what_it_learnt_does_not_pass_for_one_that_learnt_nothing(
    trained, tmp_path: Path
) -> None:
    assert _load(trained[0]).learnt == {one.note.text_sha256 for one in NOTES[:2]}
    shutil.copytree(trained[0], tmp_path / "old")
    manifest = tmp_path / "old" / "spanlake.json"
    manifest.write_text(manifest.read_text().replace("learnt_texts", "of_old"))
    assert _load(tmp_path / "old").learnt is None
    assert [one.learnt for one in scored_notes(NOTES, _load(tmp_path / "old"))] == [None] * 3
    further = training.train_tagger(NOTES, [], tiny_recipe(tmp_path / "old", tmp_path / "t"))
    assert "unknown" in further["learnt_texts"][-1]
    assert _load(tmp_path / "t").learnt is None


def test_an_entity_threshold_leaves_out_the_least_probable_and_is_in_the_fingerprint(
    trained,
) -> None:
    units = [Unit(text) for text in TEXTS]
    plain = _load(trained[0])
    scores = sorted(e.score for answer in plain.extract(units) for e in answer.entities)
    least = scores[len(scores) // 2] - 1e-6  # scores are rounded
    strict = _load(trained[0], entity_threshold=least)
    assert strict.fingerprint != plain.fingerprint
    kept = sorted(e.score for answer in strict.extract(units) for e in answer.entities)
    assert kept == [score for score in scores if score >= least]
    assert 0 < len(kept) < len(scores)


def test_a_model_that_learns_with_neighbours_reads_alone_and_with_them(
    tiny_base: Path, tmp_path: Path
) -> None:
    config = tiny_recipe(tiny_base, tmp_path / "t", together=5)
    metrics = training.train_tagger(NOTES, NOTES, config)
    assert metrics["dev"]["main"]["f1"] > 0.8
    text = NOTES[0].note.note_text
    alone, around = _load(tmp_path / "t"), _load(tmp_path / "t", context=1)
    units = {n: units_of(text, split(text), n) for n in (0, 1)}
    for unit, other in zip(units[1], units[0], strict=True):
        [near], [far] = around.read([unit]), alone.read([other])
        assert near.probabilities.shape == far.probabilities.shape
        assert not np.allclose(near.probabilities, far.probabilities, atol=1e-4)
        assert [e.text for e in around.extract([unit])[0].entities]
    assert strict_scores(NOTES, around)["main"]["f1"] > 0.8


def test_what_is_learnt_of_a_word_with_neighbours_is_what_is_read_of_it(
    trained, tiny_base: Path
) -> None:
    """The tags of training stand where the words are that extraction reads."""
    model = _load(trained[0])
    [reader] = model.readers
    gold = gold_note("x", "Mild cough.\nleft effusion.\ndenies chest pain", ("left", "bodyloc"))
    [first, example, last] = examples_of([gold], context=2)[0]
    assert example.unit.left and example.unit.right
    targets, _ = gold_targets([first, example, last], model.labels, max_pair_words=60)
    for target in (targets[0], targets[2]):
        target.tags[:] = 0  # only those of the one in the middle are looked for
    learnt = [_features(targets, reader, most=3, seed=(s,)) for s in range(20)]
    feature = max((one[0] for one in learnt), key=lambda one: len(one["input_ids"]))
    batch = collate_joint([feature], reader.pieces.pad)
    _, states = reader.engine.encode(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    [read] = model.read([example.unit])
    assert np.allclose(states[0][feature["tags"].any(axis=1)], read.reads[0].states, atol=1e-5)
