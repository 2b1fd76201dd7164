from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from spanlake.config.extractors import ExtractorConfig, extractor_config
from spanlake.core.bio import words
from spanlake.core.types import Entity, Extraction, Unit, entity_at
from spanlake.errors import OffsetError
from spanlake.models import model_fingerprint
from spanlake.models.bert import Bert

pytestmark = pytest.mark.model
pytest.importorskip("torch", reason="needs the infer extra")

TEXTS = (
    "Patient denies chest pain or shortness of breath.",
    "",
    " \n\t ",
    "BP 120/80; pulse 72.",
    "Na\u0301usea 😀 and cafe\u0301-au-lait spots, İstanbul\u200d score 3.5×10⁹\u00a0/L",
    "Mild left pleural effusion.\r\n\x0cNo  pneumothorax",
    "pain",
    "\u200d\u200d",
    "Metformin 500 mg by mouth twice daily for diabetes mellitus. " * 12,
)
UNITS = [Unit(text) for text in TEXTS]


@pytest.fixture(scope="module")
def bert(tiny_bert: Path) -> Bert:
    return Bert(_config(tiny_bert))


def _config(folder: Path, **options) -> ExtractorConfig:
    values = {
        "kind": "bert",
        "model": str(folder),
        "max_tokens": 32,
        "stride": 8,
        "max_pair_distance": 6,
        "pair_threshold": 0.3,
        "device": "cpu",
        "precision": "fp32",
    }
    return extractor_config(**(values | options))


def _same(one: list[Extraction], other: list[Extraction]) -> None:
    """Assert the same answers, scores to float tolerance."""
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert [e.key for e in mine.entities] == [e.key for e in theirs.entities]
        assert [(r.head, r.tail, r.label) for r in mine.relations] == [
            (r.head, r.tail, r.label) for r in theirs.relations
        ]
        scores = [[x.score for x in (*a.entities, *a.relations)] for a in (mine, theirs)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_there_is_one_answer_a_unit_and_every_character_was_seen(bert: Bert) -> None:
    answers = bert.extract(UNITS)
    assert [a.outcome for a in answers] == ["ok"] * len(UNITS)
    assert [a.chars_seen for a in answers] == [len(text) for text in TEXTS]
    assert sum(len(a.entities) for a in answers) > 20, (
        "a tiny model that finds nothing tests nothing"
    )
    assert sum(len(a.relations) for a in answers) > 5
    assert answers[1].entities == answers[2].entities == ()


def test_entities_are_slices_of_the_text_and_never_cut_a_word(bert: Bert) -> None:
    for unit, answer in zip(UNITS, bert.extract(UNITS), strict=True):
        starts = {word.start for word in words(unit.target)}
        ends = {word.end for word in words(unit.target)}
        for entity in answer.entities:
            assert unit.target[entity.start : entity.end] == entity.text
            assert entity.start in starts
            assert entity.end in ends


def test_entities_of_a_layer_do_not_overlap_and_relations_are_allowed_pairs(bert: Bert) -> None:
    for answer in bert.extract(UNITS):
        for layer in ("main", "modifier"):
            mine = [e for e in answer.entities if bert.labels.layer_of(e.label) == layer]
            assert all(a.end <= b.start for a, b in pairwise(mine))
        for relation in answer.relations:
            head, tail = (answer.entities[i] for i in (relation.head, relation.tail))
            assert bert.labels.allows(head.label, tail.label)


def test_answers_do_not_depend_on_batch_size_order_or_neighbours(
    bert: Bert, tiny_bert: Path
) -> None:
    expected = bert.extract(UNITS)
    for max_tokens_per_batch in (16, 100_000):
        _same(
            Bert(_config(tiny_bert, max_tokens_per_batch=max_tokens_per_batch)).extract(UNITS),
            expected,
        )
    order = list(range(len(UNITS)))
    random.Random(3).shuffle(order)
    shuffled = bert.extract([UNITS[i] for i in order])
    _same(shuffled, [expected[i] for i in order])
    _same([bert.extract([unit])[0] for unit in UNITS], expected)


def test_a_text_of_many_windows_is_read_to_its_end(bert: Bert) -> None:
    bert.stats.take()
    [answer] = bert.extract([Unit(TEXTS[-1])])
    assert bert.stats.tokens > 2 * 12 * 11  # the windows of two layers, overlap included
    assert answer.chars_seen == len(TEXTS[-1])
    assert {entity.start // 100 for entity in answer.entities} == set(
        range(len(TEXTS[-1]) // 100 + 1)
    )


def test_windows_change_nothing_where_a_word_is_scored_by_itself(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = np.random.default_rng(5).dirichlet(np.full(9, 0.2), 300)

    def by_piece(self, sequences, *, budget, stats):
        return [table[np.array(sequence, dtype=int)] for sequence in sequences]

    monkeypatch.setattr("spanlake.models.network.Network.probabilities", by_piece)
    options = {"model": None, "main": str(tiny_bert / "main")}
    whole = Bert(_config(tiny_bert, **options, max_tokens=64))
    windowed = Bert(_config(tiny_bert, **options, max_tokens=16, stride=6))
    units = [Unit(text[:110]) for text in TEXTS]
    answers = whole.extract(units)
    assert windowed.extract(units) == answers
    assert any(len(entity.text.split()) > 1 for entity in answers[-1].entities)


def test_the_end_of_a_word_that_overflows_a_window_counts_as_unseen(bert: Bert) -> None:
    word = "pain" * 24  # in more pieces than the thirty that a window holds
    text = f"pain {word} fever"
    [answer] = bert.extract([Unit(text)])
    pieces = bert._taggers[0].network.pieces
    cut = len(word) - pieces.characters_in(word, 30)
    assert len(pieces.of([word])[0]) > 30
    assert cut > 0
    assert answer.chars_seen == len(text) - cut


def test_a_text_that_is_no_unicode_fails_alone(bert: Bert) -> None:
    answers = bert.extract([Unit("chest pain"), Unit("bad \ud800 text"), Unit("fever")])
    assert [a.outcome for a in answers] == ["ok", "unreadable", "ok"]
    assert answers[1].error_class == "UnicodeEncodeError"


def test_given_entities_are_linked_wherever_they_lie(bert: Bert) -> None:
    text = TEXTS[-1]

    def at(part: str, label: str, start: int = 0) -> Entity:
        where = text.index(part, start)
        return entity_at(text, where, where + len(part), label)

    entities = [
        at("Metformin 500 mg by mouth twice daily for diabetes mellitus. Metformin", "drug"),
        at("500 mg", "strength"),  # nested
        at("etform", "frequency"),  # inside a word
        at("twice", "frequency", 100),
        at("mellitus", "problem"),
    ]
    [found] = bert.score_relations([Unit(text)], [entities])
    assert {(r.head, r.tail) for r in found} <= {(0, 1), (0, 2)}
    options = {"pair_threshold": 0.0, "max_pair_distance": 60}
    everything = Bert(bert.config.model_copy(update=options))
    [asked] = everything.score_relations([Unit(text)], [entities])
    assert [(r.head, r.tail) for r in asked] == [(0, 1), (0, 2), (0, 3)]


def test_mentions_farther_apart_than_the_limit_are_no_candidates(tiny_bert: Path) -> None:
    text = "aspirin a b c d e daily"
    entities = [entity_at(text, 0, 7, "drug"), entity_at(text, 18, 23, "frequency")]
    for most, count in ((5, 1), (4, 0)):
        bert = Bert(_config(tiny_bert, max_pair_distance=most, pair_threshold=0.0))
        assert len(bert.score_relations([Unit(text)], [entities])[0]) == count


def test_linking_refuses_entities_of_another_text(bert: Bert) -> None:
    with pytest.raises(OffsetError):
        bert.score_relations([Unit("no pain")], [[entity_at("my pain", 0, 2, "negation")]])


def test_a_part_that_is_not_configured_finds_nothing(tiny_bert: Path) -> None:
    config = _config(tiny_bert, model=None, main=str(tiny_bert / "main"))
    answers = Bert(config).extract(UNITS)
    labels = {entity.label for answer in answers for entity in answer.entities}
    assert labels
    assert labels <= {"problem", "treatment", "test", "drug"}
    assert not any(answer.relations for answer in answers)


def test_work_is_counted(tiny_bert: Path) -> None:
    bert = Bert(_config(tiny_bert))
    bert.extract(UNITS)
    stats = bert.stats.take()
    assert stats.batches > 3
    assert stats.padded_tokens >= stats.tokens > 0
    assert min(stats.tokenize_seconds, stats.forward_seconds, stats.decode_seconds) > 0
    assert bert.stats.tokens == 0


def test_lack_of_memory_halves_batches_and_changes_no_answer(
    bert: Bert, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    cramped = Bert(_config(tiny_bert))
    for part in (*cramped._taggers, cramped._linker):
        model = part.network.model

        def forward(input_ids, model=model, run=model.forward, **inputs):
            if len(input_ids) > 12:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return run(input_ids=input_ids, **inputs)

        monkeypatch.setattr(model, "forward", forward)
    _same(cramped.extract(UNITS), bert.extract(UNITS))
    assert cramped.stats.oom_splits > 0


def test_bfloat16_runs_where_it_is_asked_for(tiny_bert: Path) -> None:
    answers = Bert(_config(tiny_bert, precision="bf16")).extract(UNITS[:4])
    assert [a.outcome for a in answers] == ["ok"] * 4


def test_the_fingerprint_changes_with_answers_only_and_needs_no_torch(
    bert: Bert, tiny_bert: Path
) -> None:
    same = [_config(tiny_bert, max_tokens_per_batch=99), _config(tiny_bert, device="auto")]
    other = [
        _config(tiny_bert, max_tokens=40),
        _config(tiny_bert, pair_threshold=0.4),
        _config(tiny_bert, label_map={"x": "problem"}),
        _config(tiny_bert, model=None, main=str(tiny_bert / "main")),
    ]
    assert {model_fingerprint(config) for config in same} == {bert.fingerprint}
    assert len({model_fingerprint(c) for c in other} | {bert.fingerprint}) == 5
    code = (
        "import sys; from spanlake.config.extractors import extractor_config;"
        "from spanlake.models.bert import fingerprint as f;"
        f"print(f(extractor_config(**{json.loads(bert.config.model_dump_json())!r})));"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == bert.fingerprint
