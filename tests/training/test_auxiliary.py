"""Auxiliary corpora: learnt by heads of their own, which are left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import tiny_recipe

from gold_notes import NOTES, gold_note

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from spanlake.core.labels import load_labels  # noqa: E402
from spanlake.corpora import GoldNote, write_brat  # noqa: E402
from spanlake.errors import ConfigError, DataError  # noqa: E402
from spanlake.models.tagger.folder import WEIGHTS  # noqa: E402
from spanlake.models.tokenization import Pieces, pieces_of  # noqa: E402
from spanlake.training import tagger as training  # noqa: E402
from spanlake.training.auxiliary import Corpus, auxiliary_of, drawn  # noqa: E402
from spanlake.training.datasets import examples_of  # noqa: E402
from spanlake.training.joint import (  # noqa: E402
    Target,
    collate_joint,
    gold_targets,
    joint_features,
    parts_of,
)
from spanlake.training.learner import JointLearner  # noqa: E402
from spanlake.training.start import start_of  # noqa: E402

KIWI = load_labels("kiwi")
CHEMICALS = [
    gold_note("x", "Zincol caused a rash.", ("Zincol", "Chemical"), ("rash", "Disease")),
    gold_note("y", "No fever after ferrol.", ("fever", "Disease"), ("ferrol", "Chemical")),
]
TRIALS = [
    gold_note("z", "Adults without asthma for one year.", ("Adults", "Person"),
              ("without", "Negation"), ("asthma", "Condition"), ("for one year", "Temporal")),
]  # fmt: skip
EVENT = {
    "event_type": "Adverse_event",
    "Trigger": {"text": [["after"]], "start": [[5]]},
    "Effect": {"text": [["Rash"]], "start": [[0]]},
}
SENTENCE = {"id": "1", "context": "Rash after ferrol.", "annotations": [{"events": [EVENT]}]}


def _sources(top: Path) -> list[dict[str, Any]]:
    """Write three small corpora in three formats."""
    write_brat(top / "trials", TRIALS)
    tokens = ("Zincol\tB-Chemical\ncaused\tO\n" + "mild\tO\n" * n for n in range(6))
    (top / "chemicals.tsv").write_text("\n".join(f"{one}rash\tB-Disease\n.\tO\n" for one in tokens))
    (top / "events.json").write_text(json.dumps(SENTENCE) + "\n")
    return [
        {"notes": str(top / "trials"), "labels": "chia"},
        {"notes": [str(top / "chemicals.tsv")], "labels": "bc5cdr", "format": "iob"},
        {"notes": str(top / "events.json"), "labels": "phee", "format": "phee"},
    ]


def _beside():
    return auxiliary_of(
        [Corpus(load_labels("bc5cdr"), CHEMICALS), Corpus(load_labels("chia"), TRIALS)], KIWI, 1.0
    )


def _learner(base: Path) -> JointLearner:
    module, _ = start_of(base, KIWI, tiny_recipe(base, base))
    return JointLearner(module, auxiliary=_beside().layers)


def _features(targets: list[Target], pieces: Pieces) -> list[Any]:
    return joint_features(parts_of(targets, pieces, limit=30, stride=8), pieces, limit=30)


def _own_features(base: Path, notes: list[GoldNote] = NOTES) -> list[Any]:
    targets, _ = gold_targets(examples_of(notes)[0], KIWI, max_pair_words=20)
    return _features(targets, pieces_of(base))


def _other_features(base: Path) -> list[list[Any]]:
    pieces = pieces_of(base)
    return [_features(one, pieces) for one in _beside().targets]


def _loss(learner: JointLearner, features: list[Any]) -> torch.Tensor:
    return learner(**collate_joint(features, 0))["loss"]


@pytest.fixture(scope="module")
def trained(
    tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], JointLearner]:
    top = tmp_path_factory.mktemp("auxiliary")
    learners = []

    class Kept(JointLearner):
        def __init__(self, *values: Any) -> None:
            super().__init__(*values)
            learners.append(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "JointLearner", Kept)
        config = tiny_recipe(tiny_base, top / "t", auxiliary=_sources(top), auxiliary_share=2.0)
        metrics = training.train_tagger(NOTES, NOTES, config)
    return top, metrics, learners[0]


def test_ours_is_learnt_beside_them_and_their_heads_are_left_behind(
    trained, tiny_base: Path, tmp_path: Path
) -> None:
    top, metrics, learner = trained
    assert metrics["dev"]["main"]["f1"] > 0.8
    assert metrics["dev"]["relations_gold_entities"]["f1"] > 0.8
    assert [head.out_features for head in learner.heads] == [7 * 2 + 1 + 6 * 2 + 1, 5, 36]
    training.train_tagger(NOTES, [], tiny_recipe(tiny_base, tmp_path / "t", epochs=1))
    with_them, alone = (load_file(folder / "t" / WEIGHTS) for folder in (top, tmp_path))
    assert {name: one.shape for name, one in with_them.items()} == {
        name: one.shape for name, one in alone.items()
    }
    names = [sorted(path.name for path in (folder / "t").iterdir()) for folder in (top, tmp_path)]
    assert names[0] == names[1]


def test_their_heads_learn_their_tags(trained, tiny_base: Path) -> None:
    _, metrics, learner = trained
    counts = [(one["labels"], one["sentences"], one["entities"]) for one in metrics["auxiliary"]]
    assert counts == [("chia", 1, 4), ("bc5cdr", 6, 12), ("phee", 1, 2)]
    corpus = Corpus(load_labels("chia"), TRIALS)
    [targets] = auxiliary_of([corpus], KIWI, 1.0).targets
    features = _features(targets, pieces_of(tiny_base))
    module = learner.module.eval()
    fresh = JointLearner(module, auxiliary=learner.layers[1:])
    with torch.no_grad():
        assert _loss(learner, features) < 0.2 * _loss(fresh, features)


def test_a_word_counts_in_the_heads_of_its_own_corpus_alone(tiny_base: Path) -> None:
    learner, own = _learner(tiny_base).eval(), _own_features(tiny_base)
    parts = [own, *_other_features(tiny_base)]
    heads = [learner.module.tags, *learner.heads]
    for part, mine in zip(parts, heads, strict=True):
        learner.zero_grad()
        _loss(learner, part).backward()
        assert mine.weight.grad.any()
        assert all(head.weight.grad is None for head in heads if head is not mine)
    together = _loss(learner, [feature for part in parts for feature in part])
    apart = sum(_loss(learner, part) for part in parts)
    assert together.item() == pytest.approx(apart.item(), rel=1e-4), "a mean for each head"


def test_a_killed_training_with_them_ends_as_if_nothing_had_happened(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = _sources(tmp_path)
    whole, broken = (
        tiny_recipe(tiny_base, tmp_path / name, auxiliary=sources, epochs=4, dropout=0.1)
        for name in ("whole", "broken")
    )
    expected = training.train_tagger(NOTES, [], whole)
    on_save = training.WeightAverage.on_save

    def die_in_third_epoch(self, args, state, control, **rest):
        on_save(self, args, state, control, **rest)
        if state.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.WeightAverage, "on_save", die_in_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        training.train_tagger(NOTES, [], broken)
    monkeypatch.undo()
    found = training.train_tagger(NOTES, [], broken)
    assert found["loss_by_epoch"] == expected["loss_by_epoch"]
    assert Path(broken.to, WEIGHTS).read_bytes() == Path(whole.to, WEIGHTS).read_bytes()


def test_a_recipe_says_what_they_are_and_not_where(
    trained, tiny_base: Path, tmp_path: Path
) -> None:
    top, metrics, _ = trained
    recipe = metrics["recipe"]
    assert str(top) not in json.dumps(recipe)
    assert recipe["auxiliary_share"] == 2.0
    written = (top / "t" / WEIGHTS).stat().st_mtime_ns
    moved = tiny_recipe(tiny_base, top / "t", auxiliary=_sources(tmp_path), auxiliary_share=2.0)
    training.train_tagger(NOTES, [], moved)
    assert (top / "t" / WEIGHTS).stat().st_mtime_ns == written, "the same notes, from elsewhere"
    write_brat(tmp_path / "trials", [gold_note("z", "Healthy adults.", ("adults", "Person"))])
    corpora = training.read_auxiliary(moved.auxiliary)
    edited = training.auxiliary_recipe(corpora, moved.auxiliary_share)
    same = [
        one == other for one, other in zip(edited["auxiliary"], recipe["auxiliary"], strict=True)
    ]
    assert same == [False, True, True]
    plain = training.recipe_of(NOTES, KIWI, tiny_recipe(tiny_base, tmp_path))
    assert not [name for name in plain if name.startswith("auxiliary")], "as before there were any"


def test_every_epoch_has_another_draw_of_equal_parts(tiny_base: Path) -> None:
    corpora = [[f"{name}{i}" for i in range(size)] for name, size in (("a", 50), ("b", 3))]
    first, again, second = (drawn(corpora, 21, (1, epoch)) for epoch in (0, 0, 1))
    assert first == again != second
    assert [sum(one.startswith(name) for one in first) for name in "ab"] == [10, 11]
    assert len({one for one in first if one.startswith("a")}) == 10
    assert sorted(first.count(f"b{i}") for i in range(3)) == [3, 4, 4]
    own = [[{"own": i} for i in range(5)]]
    seeds = [(1, epoch) for epoch in range(3)]
    epochs = _beside().mixed(own, _beside().targets, count=5, seeds=seeds)
    assert [len(epoch) for epoch in epochs] == [10, 10, 10]
    assert all(epoch[:5] == own[0] for epoch in epochs)
    runs = [own[0][:1], own[0][:2], own[0][:3]]  # of five sentences, learnt together
    epochs = _beside().mixed(runs, _beside().targets, count=5, seeds=seeds)
    assert [len(epoch) for epoch in epochs] == [6, 7, 8], "as many beside them as there are of ours"


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"notes": "nowhere", "labels": "chia"}, DataError, "nowhere: no such folder"),
        ({"notes": "no.json", "labels": "phee", "format": "phee"}, DataError, "no such file"),
        ({"notes": "trials", "labels": "chai"}, ConfigError, "no label set 'chai'"),
        ({"notes": "trials", "labels": "phee"}, DataError, "no entities of phee, read as brat"),
    ],
)
def test_what_is_not_there_shows_before_anything_is_trained(
    source, error, message, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_brat(tmp_path / "trials", TRIALS)
    with pytest.raises(error, match=message):
        training.train_tagger(NOTES, [], tiny_recipe(tiny_base, tmp_path / "t", auxiliary=[source]))
    assert not (tmp_path / "t").exists()
