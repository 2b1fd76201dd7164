"""What holds for every pair of notes, whatever their entities and relations."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import reduce
from itertools import permutations
from operator import add

from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Entity, Relation, Span
from spanlake.scoring.counts import Counts
from spanlake.scoring.metrics import no_scores, score_note, score_notes

LABELS = LabelSet(
    name="tiny",
    main={"problem": "", "drug": ""},
    modifier={"negation": "", "temporal": ""},
    relations={"hasAttr": ""},
)
NOTHING = Annotation()


def entity(start: int, end: int, label: str = "problem") -> Entity:
    return Entity(Span(start, end), label, "x" * (end - start))


def note(*entities: Entity, relations: tuple[tuple[int, int, str], ...] = ()) -> Annotation:
    return Annotation(entities, tuple(Relation(*ends) for ends in relations))


@st.composite
def notes(draw) -> Annotation:
    """Up to seven entities that nest, repeat and overlap, with relations among them."""
    starts, lengths = st.integers(0, 15), st.integers(1, 6)
    triples = draw(st.lists(st.tuples(starts, lengths, st.sampled_from(LABELS.labels)), max_size=7))
    entities = tuple(entity(start, start + n, label) for start, n, label in triples)
    if not entities:
        return NOTHING
    end = st.integers(0, len(entities) - 1)
    ends = st.tuples(end, end, st.sampled_from(["hasAttr", "other"]))
    return note(*entities, relations=tuple(draw(st.lists(ends, max_size=5))))


pairs_of_notes = st.tuples(notes(), notes())


def shuffled(annotation: Annotation, rng: random.Random) -> Annotation:
    """The same annotation written down in another order."""
    order = rng.sample(range(len(annotation.entities)), len(annotation.entities))
    relations = [
        Relation(order.index(r.head), order.index(r.tail), r.label) for r in annotation.relations
    ]
    rng.shuffle(relations)
    return Annotation(tuple(annotation.entities[i] for i in order), tuple(relations))


def shifted(annotation: Annotation, by: int) -> Annotation:
    return replace(annotation, entities=tuple(e.shift(by) for e in annotation.entities))


def concatenated(parts: list[Annotation], length: int) -> Annotation:
    """One annotation of the notes' texts put one behind the other."""
    entities: list[Entity] = []
    relations: list[Relation] = []
    for number, part in enumerate(parts):
        before = len(entities)
        entities += shifted(part, number * length).entities
        relations += [Relation(before + r.head, before + r.tail, r.label) for r in part.relations]
    return Annotation(tuple(entities), tuple(relations))


@given(st.lists(pairs_of_notes, max_size=5), st.randoms(use_true_random=False))
def test_pooled_scores_are_the_sum_of_the_notes_in_any_order(pairs, rng):
    each = [score_note(gold, predicted, LABELS) for gold, predicted in pairs]
    rng.shuffle(each)
    middle = len(each) // 2
    halves = [reduce(add, part, no_scores(LABELS)) for part in (each[:middle], each[middle:])]
    assert halves[0] + halves[1] == score_notes(pairs, LABELS)


@given(st.lists(pairs_of_notes, min_size=1, max_size=4))
def test_the_score_of_concatenated_notes_is_the_pooled_score(pairs):
    golds, predictions = zip(*pairs, strict=True)
    whole = score_note(concatenated(list(golds), 100), concatenated(list(predictions), 100), LABELS)
    assert replace(whole, notes=len(pairs)) == score_notes(pairs, LABELS)


@given(pairs_of_notes, st.randoms(use_true_random=False))
def test_the_order_of_entities_and_relations_does_not_matter(pair, rng):
    gold, predicted = pair
    again = score_note(shuffled(gold, rng), shuffled(predicted, rng), LABELS)
    assert again == score_note(gold, predicted, LABELS)


@given(pairs_of_notes)
def test_labels_sum_to_micro_and_items_are_neither_lost_nor_doubled(pair):
    gold, predicted = pair
    scores = score_note(gold, predicted, LABELS)
    for layer, names in ((scores.entities, LABELS.main), (scores.modifiers, LABELS.modifier)):
        ours = {e.key for e in gold.entities if e.label in names}
        theirs = {e.key for e in predicted.entities if e.label in names}
        assert reduce(add, layer.labels.values()) == layer.micro
        assert layer.micro.strict.tp == len(ours & theirs)
        for counts in (layer.micro.strict, layer.micro.relaxed, layer.micro.relaxed_many):
            assert counts.support == counts.tp + counts.fn == len(ours)
        for counts in (layer.micro.strict, layer.micro.relaxed):
            assert counts.tp + counts.fp == len(theirs)


@given(pairs_of_notes)
def test_strict_is_at_most_relaxed_at_most_many_and_no_ratio_exceeds_one(pair):
    scores = score_note(*pair, LABELS)
    for one in (scores.entities.micro, scores.modifiers.micro):
        assert one.strict.tp <= one.relaxed.tp <= one.relaxed_many.matched_gold
        assert one.relaxed.tp <= one.relaxed_many.matched_predicted
        for counts in (one.strict, one.relaxed, one.relaxed_many):
            ratios = (counts.precision, counts.recall, counts.f1)
            assert all(ratio is None or 0.0 <= ratio <= 1.0 for ratio in ratios)
    assert scores.relations_strict.tp <= scores.relations_relaxed.tp


@given(pairs_of_notes)
def test_swapping_gold_and_predicted_swaps_the_errors(pair):
    there, back = score_note(*pair, LABELS), score_note(*reversed(pair), LABELS)
    for one, other in (
        (there.entities.micro.strict, back.entities.micro.strict),
        (there.modifiers.micro.relaxed, back.modifiers.micro.relaxed),
        (there.relations_strict, back.relations_strict),
        (there.relations_relaxed, back.relations_relaxed),
    ):
        assert one == Counts(other.tp, other.fn, other.fp)
    many, turned = there.entities.micro.relaxed_many, back.entities.micro.relaxed_many
    assert (many.precision, many.recall) == (turned.recall, turned.precision)


def relations_matched_by_trying_all(gold: Annotation, predicted: Annotation) -> int:
    """The largest relaxed matching, by giving the predicted relations out in every order."""

    def ends(annotation: Annotation) -> list[tuple[Entity, Entity, str]]:
        found = annotation.entities
        keyed = {
            (found[r.head].key, found[r.tail].key, r.label): (found[r.head], found[r.tail], r.label)
            for r in annotation.relations
        }
        return list(keyed.values())

    def meet(one: tuple[Entity, Entity, str], other: tuple[Entity, Entity, str] | None) -> bool:
        return (
            other is not None
            and one[2] == other[2]
            and all(
                a.label == b.label and a.span.overlaps(b.span)
                for a, b in zip(one[:2], other[:2], strict=True)
            )
        )

    ours, theirs = ends(gold), ends(predicted)
    seats = [*theirs, *[None] * len(ours)]
    return max(sum(map(meet, ours, order)) for order in permutations(seats, len(ours)))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4).map(tuple), notes())
def test_relaxed_relations_match_as_many_as_trying_all_assignments(ends, other):
    near = note(
        entity(0, 6),
        entity(3, 9),
        entity(5, 15),
        relations=tuple((head, tail, "hasAttr") for head, tail in ends),
    )
    moved = shifted(near, 2)
    for gold, predicted in ((near, moved), (near, other)):
        found = score_note(gold, predicted, LABELS).relations_relaxed.tp
        assert found == relations_matched_by_trying_all(gold, predicted)
