from __future__ import annotations

import numpy as np
import pytest

from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Entity, entity_at
from spanlake.models.tagger.features import feature_count, pair_features, word_spans

KIWI = load_labels("kiwi")
TEXT = "No fever, cough\nor chest pain in the left lung; metformin 500 mg."


def _at(part: str, label: str) -> Entity:
    return entity_at(TEXT, TEXT.index(part), TEXT.index(part) + len(part), label)


ENTITIES = [
    _at("No", "negation"),
    _at("fever", "problem"),
    _at("cough", "problem"),
    _at("chest pain", "problem"),
    _at("left", "bodyloc"),
    _at("metformin", "drug"),
    _at("500 mg", "strength"),
]


def _rows(*pairs: tuple[int, int]) -> np.ndarray:
    return pair_features(TEXT, words(TEXT), ENTITIES, pairs, KIWI)


def test_every_pair_has_one_kind_one_place_and_counts_of_what_is_between() -> None:
    rows = _rows((1, 0), (3, 0), (3, 4), (5, 6))
    assert rows.shape == (4, feature_count(KIWI))
    assert set(np.unique(rows)) == {0.0, 1.0}
    assert (rows[:, :22].sum(axis=1) == 1).all()
    assert (rows[:, 22:39].sum(axis=1) == 1).all()


@pytest.mark.parametrize(("one", "other"), [((1, 0), (2, 0)), ((2, 0), (3, 0)), ((3, 4), (5, 6))])
def test_pairs_that_differ_in_place_or_kind_are_told_apart(one, other) -> None:
    ours, theirs = _rows(one, other)
    assert (ours != theirs).any()


def test_what_stands_between_is_seen_and_what_stands_elsewhere_is_not() -> None:
    near, far = _rows((1, 0), (3, 0))
    marks = slice(-17, -1)
    assert not near[marks].any()
    assert far[marks].sum() == 3  # comma, or, line break


def test_entities_between_and_heads_on_the_other_side_are_counted() -> None:
    """Groups after kind and place: heads between, tails between, other side, overlapped."""
    far, near, other = _rows((3, 0), (1, 0), (1, 4))
    heads, tails, side = slice(39, 43), slice(43, 47), slice(47, 50)
    assert far[heads].tolist() == [0, 0, 1, 0], "fever and cough stand between"
    assert near[heads].tolist() == [1, 0, 0, 0]
    assert near[tails].tolist() == far[tails].tolist() == [1, 0, 0, 0]
    assert near[side].tolist() == [1, 0, 0], "nothing stands before the text's first word"
    assert other[side].tolist() == [1, 0, 0], "no problem stands after the left lung"
    assert not np.array([far, near, other])[:, 50].any()


def test_a_nearer_head_on_the_other_side_and_one_around_the_tail_are_told() -> None:
    text = "cough . . left lung mass"
    problem, around = entity_at(text, 0, 5, "problem"), entity_at(text, 10, 24, "problem")
    left = entity_at(text, 10, 14, "bodyloc")
    entities = [problem, around, left, entity_at(text, 15, 19, "problem")]
    [row] = pair_features(text, words(text), entities, [(0, 2)], KIWI)
    assert row[47:50].tolist() == [0, 0, 1]
    assert row[50] == 1


def test_the_order_of_pairs_in_a_label_file_changes_nothing() -> None:
    turned = KIWI.model_copy(update={"pairs": dict(reversed(KIWI.pairs.items()))})
    ours = pair_features(TEXT, words(TEXT), ENTITIES, [(1, 0)], KIWI)
    assert (ours == pair_features(TEXT, words(TEXT), ENTITIES, [(1, 0)], turned)).all()


def test_the_rule_s_decision_is_told() -> None:
    related, unrelated = _rows((1, 0), (2, 4))
    assert (related[-1], unrelated[-1]) == (1, 0)


def test_no_pairs_give_no_rows() -> None:
    assert _rows().shape == (0, feature_count(KIWI))


def test_a_span_that_cuts_words_covers_them() -> None:
    inside = entity_at(TEXT, 4, 7, "problem")  # "eve" of fever
    assert word_spans(words(TEXT), [inside, ENTITIES[3]]) == [(1, 2), (5, 7)]
