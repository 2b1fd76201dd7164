"""Training of the tagger, and the extractor that comes out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_training import tagger_at, tiny_config

from gold_notes import NOTES, gold_note
from spanlake.cli import main
from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, Unit, entity_at, units_of
from spanlake.corpora import write_brat
from spanlake.errors import ConfigError, ModelError
from spanlake.models.tagger import encoder as tagger_encoder
from spanlake.models.tagger.encoder import TaggerEncoder
from spanlake.models.tagger.engines import ENCODER
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.folder import WEIGHTS
from spanlake.scoring.score_extractor import scored_notes
from spanlake.text.sentences import split
from spanlake.training import tagger as training
from spanlake.training.examples import Example, examples_of, labelled_texts
from spanlake.training.features import collate, cut_sentences, pack_sentences
from spanlake.training.trainer import TokenBudgetTrainer, strict_scores

KIWI = load_labels("kiwi")
GRAPHS = ("*.xml", "*.bin")
TEXTS = [gold.note.note_text for gold in NOTES] + [
    "Na\u0301usea 😀 and cafe\u0301-au-lait spots, İstanbul\u200d score 3.5×10⁹\u00a0/L",
    "\u200d\u200d",
    "Metformin 500 mg by mouth twice daily for diabetes mellitus. " * 12,
]
UNITS = [Unit(text) for text in TEXTS]


def _load(folder: Path, **options: Any) -> OnePassTagger:
    return OnePassTagger(tagger_at(folder, **options))


def _train(
    base: Path, output_dir: Path, notes: Any = NOTES, eval_notes: Any = (), **options: Any
) -> dict[str, Any]:
    config = tiny_config(base, output_dir, **options)
    return training.train_tagger(notes, eval_notes, config, export=False)


def _features(examples: list[Example], encoder: TaggerEncoder, **options: Any) -> list[Any]:
    texts, _ = labelled_texts(examples, KIWI, max_pair_distance=60)
    sentences = cut_sentences(texts, encoder.pieces, limit=encoder.limit, stride=8)
    return pack_sentences(sentences, encoder.pieces, limit=encoder.limit, **options)


def test_both_layers_and_relations_are_learned(trained) -> None:
    folder, metrics = trained
    for name in ("main", "modifier", "relations_gold_entities"):
        assert metrics["eval"][name]["f1"] > 0.8
    assert metrics["loss_by_epoch"][-1] < metrics["loss_by_epoch"][0]
    assert json.loads((folder / "metrics.json").read_text()) == metrics


def test_training_logs_a_line_per_epoch(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    _train(tiny_base, tmp_path / "t", epochs=2)
    lines = [record.getMessage() for record in caplog.records if "loss" in record.getMessage()]
    assert [line.split(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert "words/s" in lines[0] and "s left" in lines[0]


def test_openvino_and_torch_give_the_same_answers(trained, copied_tagger) -> None:
    by_graphs, by_torch = _load(trained[0]), _load(copied_tagger(leave_out=GRAPHS))
    assert "openvino" in by_graphs.device
    assert "torch" in by_torch.device
    assert by_graphs.fingerprint == by_torch.fingerprint
    pairs = zip(by_graphs.extract(UNITS), by_torch.extract(UNITS), strict=True)
    for from_graphs, from_torch in pairs:
        assert [e.key for e in from_graphs.entities] == [e.key for e in from_torch.entities]
        assert [(r.head, r.tail) for r in from_graphs.relations] == [
            (r.head, r.tail) for r in from_torch.relations
        ]
        scores = [[e.score for e in answer.entities] for answer in (from_graphs, from_torch)]
        assert np.allclose(*scores, atol=5e-3)  # the graphs' weights are stored as float16


def test_entities_end_at_words_and_every_character_is_seen(trained) -> None:
    answers = _load(trained[0]).extract(UNITS)
    for text, answer in zip(TEXTS, answers, strict=True):
        edges = {edge for word in words(text) for edge in (word.start, word.end)}
        assert all({entity.start, entity.end} <= edges for entity in answer.entities)
        assert answer.chars_seen == len(text)


def test_an_answer_does_not_depend_on_the_batch(trained) -> None:
    model = _load(trained[0])
    for in_batch, unit in zip(model.extract(UNITS), UNITS, strict=True):
        [alone] = model.extract([unit])
        assert [e.key for e in in_batch.entities] == [e.key for e in alone.entities]


def test_extract_and_link_agree_on_relations(trained) -> None:
    model = _load(trained[0])
    answers = model.extract(UNITS)
    assert any(answer.relations for answer in answers)
    linked = model.score_relations(UNITS, [answer.entities for answer in answers])
    for answer, relations in zip(answers, linked, strict=True):
        assert answer.confidence is not None
        pairs = [(r.head, r.tail) for r in answer.relations]
        assert pairs == [(r.head, r.tail) for r in relations]


def test_training_and_extraction_see_the_same_pair_states(trained) -> None:
    """Training gathers states by subwords, extraction by words: the same rows must come out."""
    text = "\u200d zosteriform rash denies cholecystectomy " + "or fever and chills " * 6 + "daily"
    parts = [("zosteriform rash", "problem"), ("denies", "negation"), ("daily", "temporal")]
    gold = gold_note("x", text, *parts).annotation
    model = _load(trained[0], max_pair_distance=60)
    [encoder] = model.readers
    features = _features([Example(Unit(text), gold)], encoder)
    assert len(features) > 1, "the text needs several windows"
    [read] = model.read([Unit(text)])
    candidates = model.candidate_pairs(read, gold.entities)
    assert candidates.places == [(0, 1), (0, 2)]
    batch = collate(features[:1], encoder.pieces.pad)
    _, states = encoder.engine.encode(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    rows, positions = batch["pair_rows"].numpy(), batch["pair_positions"].numpy()
    ends = states[rows[:, None], positions].reshape(1, -1)
    words_of_ends = [edge for first, last in candidates.words[0] for edge in (first, last - 1)]
    assert np.allclose(ends[0], read.reads[0].states[words_of_ends].ravel(), atol=1e-5)
    assert (batch["pair_features"].numpy() == candidates.features[:1]).all()


def test_training_and_extraction_see_the_same_context(trained) -> None:
    """The tags of packed training examples stand at the words that extraction reads."""
    model = _load(trained[0])
    [encoder] = model.readers
    gold = gold_note("x", "Mild cough.\nleft effusion.\ndenies chest pain", ("left", "bodyloc"))
    examples = examples_of([gold], context=2)[0]
    assert examples[1].unit.left and examples[1].unit.right
    packed = [_features(examples, encoder, max_packed_sentences=3, seed=(s,))[0] for s in range(20)]
    feature = max(packed, key=lambda feature: len(feature["input_ids"]))
    batch = collate([feature], encoder.pieces.pad)
    _, states = encoder.engine.encode(batch["input_ids"].numpy(), batch["attention_mask"].numpy())
    labelled = states[0][feature["tags"].any(axis=1)]
    first = len(words(examples[0].text))
    [read] = model.read([examples[1].unit])
    count = len(words(examples[1].text))
    assert np.allclose(labelled[first : first + count], read.reads[0].states, atol=1e-5)


def test_a_relation_scores_its_link_times_both_entities(trained) -> None:
    model = _load(trained[0], relation_threshold=0.0)
    texts = model.read(UNITS)
    entities = [model.entities(text)[0] for text in texts]
    linked = [dict(zip(*scored, strict=True)) for scored in model.pair_scores(texts, entities)]
    found = [
        (relation, answer.entities, scores)
        for answer, scores in zip(model.extract(UNITS), linked, strict=True)
        for relation in answer.relations
    ]
    assert found
    for relation, ends, scores in found:
        product = ends[relation.head].score * ends[relation.tail].score
        link = scores[relation.head, relation.tail][0]
        assert relation.score == pytest.approx(link * product, abs=1e-5)
    threshold = max(relation.score for relation, _, _ in found) - 1e-6
    strict = _load(trained[0], relation_threshold=threshold)
    kept = [relation for answer in strict.extract(UNITS) for relation in answer.relations]
    assert 0 < len(kept) < len(found)


def test_a_pair_with_a_word_without_subwords_is_not_scored(trained) -> None:
    text = "\u200d daily"
    entities = [entity_at(text, 0, 1, "problem"), entity_at(text, 2, 7, "temporal")]
    assert _load(trained[0], pair_threshold=0.0).score_relations([Unit(text)], [entities]) == [[]]


def test_texts_without_subwords_are_left_out_of_training(tiny_base: Path, tmp_path: Path) -> None:
    notes = [*NOTES, *(gold_note(f"z{i}", "\u200d\u200d") for i in range(4))]
    metrics = _train(tiny_base, tmp_path / "t", notes, epochs=3)
    assert metrics["data"]["sentences"] - metrics["examples"] == 4
    assert np.isfinite(metrics["loss_by_epoch"]).all()


def test_a_model_of_another_recipe_is_kept_unless_asked(tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "t"
    _train(tiny_base, folder, epochs=1, seed=1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigError, match=r"another recipe \(differs in seed\)"):
        _train(tiny_base, folder, epochs=1, seed=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert _train(tiny_base, folder, epochs=1, seed=2, resume=False)["recipe"]["seed"] == 2
    assert _load(folder).extract([Unit("No fever.")])[0].outcome == "ok"


def test_graphs_alone_are_read_on_the_cpu_despite_a_gpu(
    copied_tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied_tagger(leave_out=(WEIGHTS,))
    monkeypatch.setattr(tagger_encoder, "_has_gpu", lambda: True)
    assert "openvino" in _load(folder).device
    (folder / "linker.bin").unlink()
    with pytest.raises(ModelError, match=r"linker.bin missing"):
        _load(folder)


def test_another_manifest_is_another_fingerprint(trained, copied_tagger) -> None:
    manifest = json.loads((trained[0] / "spanlake.json").read_text())
    folder = copied_tagger()
    (folder / "spanlake.json").write_text(json.dumps(manifest | {"longest": 20}))
    assert _load(folder).fingerprint != _load(trained[0]).fingerprint


def test_only_the_relation_head_is_finetuned_at_the_end(tiny_base: Path, tmp_path: Path) -> None:
    weights = []
    for epochs in (0, 100):
        folder = tmp_path / str(epochs)
        metrics = _train(tiny_base, folder, epochs=1, relation_head_epochs=epochs)
        losses = metrics["relation_head_loss_by_epoch"]
        assert len(losses) == epochs
        weights.append(load_file(folder / WEIGHTS))
    assert losses[-1] < 0.2 * losses[0]
    changed = {name for name, tensor in weights[0].items() if not tensor.equal(weights[1][name])}
    assert changed
    assert all(name.startswith("linker.") for name in changed)


def test_wrong_options_are_refused_before_training(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half of max_tokens"):
        tiny_config(tiny_base, tmp_path, stride=20)


def test_a_training_does_not_overwrite_its_base_model(copied_tagger, tmp_path: Path) -> None:
    base = copied_tagger("base")
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    for output_dir in (base, tmp_path / "x" / ".." / "base", tmp_path):
        with pytest.raises(ConfigError, match="would overwrite"):
            _train(base, output_dir, epochs=1)
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_a_crash_does_not_block_the_next_training(tiny_base: Path, tmp_path: Path) -> None:
    work = tmp_path / "t" / ".training"
    work.mkdir(parents=True)
    (work / "recipe.json").write_text('{"model"')
    _train(tiny_base, tmp_path / "t", epochs=1)
    work.mkdir()  # a crash after the manifest was written
    _train(tiny_base, tmp_path / "t", epochs=1)
    assert not work.exists()


def test_options_other_than_in_training_are_logged(
    trained, caplog: pytest.LogCaptureFixture
) -> None:
    _load(trained[0], max_pair_distance=7)
    assert "trained with max_pair_distance=20, read with 7" in caplog.text


def test_a_tagger_trained_further_has_the_new_dropout(trained) -> None:
    module, _ = training.load_base_model(str(trained[0]), KIWI, 0.3)
    assert (module.dropout.p, module.linker.dropout.p, module.shape.dropout) == (0.3, 0.3, 0.3)


def test_entities_of_white_space_are_in_no_pair() -> None:
    text = "No  fever."
    entities = (entity_at(text, 0, 2, "negation"), entity_at(text, 2, 4, "negation"))
    gold = Annotation((*entities, entity_at(text, 4, 9, "problem")))
    [labelled], _ = labelled_texts([Example(Unit(text), gold)], KIWI, max_pair_distance=9)
    assert labelled.pairs == [((1, 2), (0, 1))]
    assert len(labelled.pair_labels) == len(labelled.pair_features) == 1


def test_a_changed_file_is_refused(copied_tagger) -> None:
    folder = copied_tagger()
    (folder / ENCODER).write_text("<net/>")
    with pytest.raises(ModelError, match=r"encoder.xml is not the file that was trained"):
        _load(folder)


@pytest.mark.parametrize(
    ("options", "complete"),
    [
        ({}, True),
        ({}, False),  # a crash while a checkpoint is written: the one before it is used
        ({"max_packed_sentences": 5, "soup_size": 2}, True),
    ],
)
def test_a_resumed_training_gives_the_same_weights(
    options: dict[str, Any],
    complete: bool,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    options = {"epochs": 4, "dropout": 0.1, **options}
    expected = _train(tiny_base, whole, **options)
    save = TokenBudgetTrainer._save_checkpoint

    def crash_in_third_epoch(self, model, trial):
        crash = self.state.epoch == 3 and self.args.seed == 41 + options.get("soup_size", 1)
        if crash and not complete:
            self.args.save_total_limit = None  # older checkpoints are removed last
        save(self, model, trial)
        if crash and not complete:
            checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (checkpoint / "trainer_state.json").unlink()
        if crash:
            raise KeyboardInterrupt

    monkeypatch.setattr(TokenBudgetTrainer, "_save_checkpoint", crash_in_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        _train(tiny_base, resumed, **options)
    assert list((resumed / ".training").rglob("checkpoint-*/trainer_state.json"))
    assert not (resumed / "spanlake.json").exists()
    monkeypatch.undo()
    metrics = _train(tiny_base, resumed, **options)
    for name in ("relation_head_loss_by_epoch", "loss_by_epoch"):
        assert metrics.get(name) == expected.get(name)
    losses = [[run["loss_by_epoch"] for run in m.get("runs", [])] for m in (metrics, expected)]
    assert losses[0] == losses[1]
    assert (resumed / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def test_a_soup_is_the_mean_of_its_trainings(trained, tmp_path: Path) -> None:
    def weights(name: str, **options: Any) -> dict[str, torch.Tensor]:
        options |= {"epochs": 2, "relation_head_epochs": 0}
        _train(trained[0], tmp_path / name, NOTES[:2], **options)
        return load_file(tmp_path / name / WEIGHTS)

    first, second = weights("x", seed=1), weights("y", seed=2)
    soup = weights("z", seed=1, soup_size=2)
    assert not first["tags.weight"].equal(second["tags.weight"])
    for name, mean in soup.items():
        assert mean.allclose((first[name] + second[name]) / 2, atol=1e-6), name


def test_a_tagger_can_be_trained_further(trained, tmp_path: Path) -> None:
    rates = {"learning_rate": 1e-9, "head_learning_rate": 1e-9, "weight_decay": 0.0}
    _train(trained[0], tmp_path / "t", epochs=1, relation_head_epochs=0, **rates)
    texts = zip(_load(trained[0]).read(UNITS), _load(tmp_path / "t").read(UNITS), strict=True)
    for before, after in texts:
        assert np.allclose(before.probabilities, after.probabilities, atol=5e-3)


def test_a_tagger_of_another_label_set_is_no_base(trained, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="label set"):
        _train(trained[0], tmp_path / "t", labels="bc5cdr")


def test_more_context_than_in_training_is_refused(trained) -> None:
    with pytest.raises(ConfigError, match="context is 1: the model was trained with 0"):
        _load(trained[0], context=1)


def test_evaluate_names_notes_in_the_training_data(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = gold_note("new", "Severe cough.", ("Severe", "severity"), ("cough", "problem"))
    other_id = gold_note("d", NOTES[1].note.note_text)
    write_brat(tmp_path / "gold", [NOTES[0], other_id, new])
    model = ["--set", "extractor.kind=tagger", "--set", f"extractor.model={trained[0]}"]
    call = ["evaluate", "--gold", str(tmp_path / "gold"), "--json", str(tmp_path / "s.json")]
    assert main([*call, *model]) == 0
    assert "the model was trained on 2 of these 3 notes: a, d;" in capsys.readouterr().err
    assert json.loads((tmp_path / "s.json").read_text())["notes_in_training_data"] == ["a", "d"]
    write_brat(tmp_path / "only", [new])
    assert main(["evaluate", "--gold", str(tmp_path / "only"), *model]) == 0
    assert "trained on" not in capsys.readouterr().err


def test_a_model_without_record_of_its_training_data_is_unknown(
    trained, copied_tagger: Callable[..., Path], tmp_path: Path
) -> None:
    hashes = {gold.note.text_sha256 for gold in NOTES[:2]}
    assert _load(trained[0]).training_text_hashes == hashes
    folder = copied_tagger(leave_out=GRAPHS)
    manifest = folder / "spanlake.json"
    text = manifest.read_text()
    manifest.write_text(text.replace("training_text_hashes", "training_text_hashes"))
    assert _load(folder).training_text_hashes == hashes, "the key of earlier versions"
    manifest.write_text(text.replace("training_text_hashes", "other"))
    assert _load(folder).training_text_hashes is None
    assert [scored.in_training_data for scored in scored_notes(NOTES, _load(folder))] == [None] * 3
    further = _train(folder, tmp_path / "t", epochs=1)
    assert "unknown" in further["training_text_hashes"][-1]
    assert _load(tmp_path / "t").training_text_hashes is None


def test_an_entity_threshold_drops_the_least_probable(trained) -> None:
    plain = _load(trained[0])
    scores = sorted(e.score for answer in plain.extract(UNITS[:3]) for e in answer.entities)
    threshold = scores[len(scores) // 2] - 1e-6  # scores are rounded
    strict = _load(trained[0], entity_threshold=threshold)
    assert strict.fingerprint != plain.fingerprint
    kept = sorted(e.score for answer in strict.extract(UNITS[:3]) for e in answer.entities)
    assert kept == [score for score in scores if score >= threshold]
    assert 0 < len(kept) < len(scores)


def test_a_tagger_trained_on_packed_sentences_reads_context(
    tiny_base: Path, tmp_path: Path
) -> None:
    metrics = _train(tiny_base, tmp_path / "t", NOTES, NOTES, max_packed_sentences=5)
    assert metrics["eval"]["main"]["f1"] > 0.8
    text = NOTES[0].note.note_text
    alone, in_context = _load(tmp_path / "t"), _load(tmp_path / "t", context=1)
    units = {n: units_of(text, split(text), n) for n in (0, 1)}
    for unit, other in zip(units[1], units[0], strict=True):
        [near], [far] = in_context.read([unit]), alone.read([other])
        assert near.probabilities.shape == far.probabilities.shape
        assert not np.allclose(near.probabilities, far.probabilities, atol=1e-4)
        assert [e.text for e in in_context.extract([unit])[0].entities]
    assert strict_scores(NOTES, in_context)["main"]["f1"] > 0.8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tags": "x"}', "no calibration"),
        ('{"tags": [1.5], "pairs": 2}', "2 temperatures of tags and one of pairs"),
        ('{"tags": [1.5, 0], "pairs": 2}', "above 0"),
        ('{"tags": [1.5, 2], "pairs": NaN}', "above 0"),
    ],
)
def test_a_wrong_calibration_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        training.read_temperatures(str(path), KIWI)


def test_temperatures_change_scores_but_no_entity(trained, tmp_path: Path, tiny_base) -> None:
    path = tmp_path / "calibration.json"
    path.write_text('{"tags": [3.0, 3.0], "pairs": 3.0}')
    calibrated = tiny_config(tiny_base, tmp_path / "t", calibration=str(path))
    training.train_tagger(NOTES, [], calibrated)
    before, after = (_load(folder, entity_threshold=0.0) for folder in (trained[0], tmp_path / "t"))
    assert before.fingerprint != after.fingerprint
    for plain, other in zip(before.extract(UNITS[:3]), after.extract(UNITS[:3]), strict=True):
        assert [e.key for e in plain.entities] == [e.key for e in other.entities]
        assert other.confidence < plain.confidence or not other.chars_seen


def test_unreadable_units_have_answers(trained) -> None:
    tagger = _load(trained[0])
    [answer] = tagger.extract([Unit("fever \ud800 here")])
    assert (answer.outcome, answer.error_class) == ("unreadable", "UnicodeEncodeError")
    assert tagger.pair_scores([], []) == []
