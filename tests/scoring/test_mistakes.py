from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Entity, Span
from spanlake.scoring.metrics import score_note
from spanlake.scoring.mistakes import mistakes

LABELS = LabelSet(name="tiny", main={"problem": "", "drug": ""}, modifier={"negation": ""})


def entity(start: int, end: int, label: str = "problem") -> Entity:
    return Entity(Span(start, end), label, "x" * (end - start))


def found(gold: list[Entity], predicted: list[Entity]) -> list[tuple[object, ...]]:
    """Return (kind, gold key, predicted key) of every mistake."""
    return [
        (one.kind, one.gold and one.gold.key, one.predicted and one.predicted.key)
        for one in mistakes(Annotation(tuple(gold)), Annotation(tuple(predicted)), LABELS)
    ]


def test_every_kind_is_told_apart():
    gold = [entity(0, 4), entity(10, 14), entity(20, 24), entity(30, 34), entity(40, 44)]
    predicted = [
        entity(0, 4),
        entity(10, 14, "drug"),
        entity(20, 25),
        entity(31, 34, "drug"),
        entity(50, 54),
    ]
    assert found(gold, predicted) == [
        ("label", (10, 14, "problem"), (10, 14, "drug")),
        ("boundary", (20, 24, "problem"), (20, 25, "problem")),
        ("both", (30, 34, "problem"), (31, 34, "drug")),
        ("lost", (40, 44, "problem"), None),
        ("spurious", None, (50, 54, "problem")),
    ]


def test_a_prediction_over_two_gold_entities_is_paired_with_the_larger_one():
    assert found([entity(0, 2), entity(3, 9)], [entity(0, 9)]) == [
        ("lost", (0, 2, "problem"), None),
        ("boundary", (3, 9, "problem"), (0, 9, "problem")),
    ]


def test_the_same_label_is_a_better_counterpart_than_a_larger_overlap():
    assert found([entity(0, 9)], [entity(0, 7, "drug"), entity(8, 9)]) == [
        ("spurious", None, (0, 7, "drug")),
        ("boundary", (0, 9, "problem"), (8, 9, "problem")),
    ]


def test_layers_are_not_mixed():
    assert found([entity(0, 4)], [entity(0, 4, "negation")]) == [
        ("lost", (0, 4, "problem"), None),
        ("spurious", None, (0, 4, "negation")),
    ]


def test_what_only_touches_is_no_counterpart():
    assert [kind for kind, _, _ in found([entity(0, 4)], [entity(4, 8)])] == ["lost", "spurious"]


ENTITIES = st.lists(
    st.builds(
        lambda start, size, label: entity(start, start + size, label),
        st.integers(0, 12),
        st.integers(1, 5),
        st.sampled_from(LABELS.labels),
    ),
    max_size=8,
)


@given(ENTITIES, ENTITIES)
def test_mistakes_add_up_to_the_strict_counts(gold, predicted):
    ours, theirs = Annotation(tuple(gold)), Annotation(tuple(predicted))
    scores, all_of_them = score_note(ours, theirs, LABELS), mistakes(ours, theirs, LABELS)
    for layer, counted in (("main", scores.entities), ("modifier", scores.modifiers)):
        mine = [one for one in all_of_them if one.layer == layer]
        assert sum(one.gold is not None for one in mine) == counted.micro.strict.fn
        assert sum(one.predicted is not None for one in mine) == counted.micro.strict.fp
