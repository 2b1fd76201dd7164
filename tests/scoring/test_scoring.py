from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest

from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Annotation, Entity, Relation, Span, entity_at
from spanlake.errors import ConfigError, DataError
from spanlake.scoring.counts import Counts, EntityCounts, ManyCounts
from spanlake.scoring.metrics import score_linked, score_note, score_notes

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


def test_strict_asks_for_label_and_both_offsets():
    gold = note(entity(0, 4), entity(10, 14), entity(20, 24), entity(30, 34))
    predicted = note(entity(0, 4), entity(10, 15), entity(20, 24, "drug"))
    micro = score_note(gold, predicted, LABELS).entities.micro
    assert micro.strict == Counts(tp=1, fp=2, fn=3)
    assert micro.relaxed == Counts(tp=2, fp=1, fn=2)


def test_counts_are_kept_by_label_and_layer():
    gold = note(entity(0, 4), entity(5, 9, "drug"), entity(0, 2, "negation"))
    predicted = note(entity(0, 3), entity(5, 9, "drug"), entity(5, 9, "negation"))
    scores = score_note(gold, predicted, LABELS)
    one = Counts(1, 0, 0)
    assert scores.entities.labels == {
        "problem": EntityCounts(Counts(0, 1, 1), one, ManyCounts(1, 1, 1, 1)),
        "drug": EntityCounts(one, one, ManyCounts(1, 1, 1, 1)),
    }
    assert scores.modifiers.labels["negation"].relaxed == Counts(0, 1, 1)
    assert scores.modifiers.labels["temporal"] == EntityCounts()


def test_adjacent_spans_are_no_overlap():
    gold, predicted = note(entity(0, 5)), note(entity(5, 9))
    missed = EntityCounts(Counts(0, 1, 1), Counts(0, 1, 1), ManyCounts(0, 0, 1, 1))
    assert score_note(gold, predicted, LABELS).entities.micro == missed
    assert score_note(predicted, gold, LABELS).entities.micro == missed


def test_one_shared_character_is_an_overlap():
    scores = score_note(note(entity(0, 5)), note(entity(4, 9)), LABELS)
    assert scores.entities.micro.relaxed == Counts(1, 0, 0)


def test_one_prediction_over_three_gold_entities_matches_one_or_many():
    gold = note(entity(0, 4), entity(5, 9), entity(10, 14))
    micro = score_note(gold, note(entity(0, 14)), LABELS).entities.micro
    assert micro.relaxed == Counts(tp=1, fp=0, fn=2)
    assert micro.relaxed_many == ManyCounts(1, 3, predicted=1, gold=3)
    assert (micro.relaxed_many.precision, micro.relaxed_many.recall) == (1.0, 1.0)


def test_three_predictions_in_one_gold_entity_do_not_push_a_ratio_above_one():
    predicted = note(entity(0, 4), entity(5, 9), entity(10, 14))
    micro = score_note(note(entity(0, 14)), predicted, LABELS).entities.micro
    assert micro.relaxed == Counts(tp=1, fp=2, fn=0)
    assert (micro.relaxed_many.precision, micro.relaxed_many.recall) == (1.0, 1.0)
    assert micro.relaxed_many.fp == 0


def test_two_entities_score_the_same_in_either_order():
    # Taking the first overlap gives the long prediction the short gold entity, and so 0 of 2.
    gold, predicted = (entity(0, 4), entity(0, 12)), (entity(0, 12), entity(0, 4))
    for ours in permutations(gold):
        for theirs in permutations(predicted):
            micro = score_note(note(*ours), note(*theirs), LABELS).entities.micro
            assert micro.strict == micro.relaxed == Counts(2, 0, 0)


def test_a_label_is_scored_whatever_other_labels_lie_on_the_span():
    predicted = note(entity(0, 2, "drug"), entity(0, 2, "problem"))
    scores = score_note(note(entity(0, 1, "problem")), predicted, LABELS)
    assert scores.entities.labels["problem"].relaxed == Counts(1, 0, 0)
    assert scores.entities.labels["drug"].relaxed == Counts(0, 1, 0)


def test_the_exact_prediction_wins_over_another_overlap():
    gold = note(entity(1, 2), entity(3, 10))
    predicted = note(entity(1, 2), entity(3, 5), entity(6, 10))
    micro = score_note(gold, predicted, LABELS).entities.micro
    assert (micro.strict.precision, micro.strict.recall) == (1 / 3, 0.5)
    assert (micro.relaxed.precision, micro.relaxed.recall) == (2 / 3, 1.0)


def test_nothing_predicted_nothing_gold_and_neither():
    gold = note(entity(0, 4))
    nothing_predicted = score_note(gold, NOTHING, LABELS).entities.micro
    nothing_gold = score_note(NOTHING, gold, LABELS).entities.micro
    neither = score_note(NOTHING, NOTHING, LABELS).entities.micro
    for mode in ("strict", "relaxed", "relaxed_many"):
        missed, invented = getattr(nothing_predicted, mode), getattr(nothing_gold, mode)
        assert (missed.precision, missed.recall, missed.f1) == (None, 0.0, 0.0)
        assert (invented.precision, invented.recall, invented.f1) == (0.0, None, 0.0)
        assert (missed.fn, invented.fp) == (1, 1)
    assert neither == EntityCounts()


def test_an_entity_given_twice_counts_once():
    twice, once = note(entity(0, 4), entity(0, 4)), note(entity(0, 4))
    right = EntityCounts(Counts(1, 0, 0), Counts(1, 0, 0), ManyCounts(1, 1, 1, 1))
    assert score_note(twice, once, LABELS).entities.micro == right
    assert score_note(once, twice, LABELS).entities.micro == right


def test_a_label_outside_the_label_set_is_refused_on_either_side():
    stray = note(entity(0, 4, "PROBLEM"))
    for gold, predicted in ((stray, NOTHING), (NOTHING, stray)):
        with pytest.raises(ConfigError, match="PROBLEM"):
            score_notes([(gold, predicted)], LABELS)


def test_one_partial_match_scores_the_same_in_one_note_and_in_two():
    pair = (note(entity(0, 9)), note(entity(3, 9)))
    one, two = score_notes([pair], LABELS), score_notes([pair, pair], LABELS)
    assert one.entities.micro.relaxed.f1 == two.entities.micro.relaxed.f1 == 1.0
    assert (one.notes, two.notes) == (1, 2)


def test_perfect_predictions_score_one_on_every_label_of_the_kiwi_set():
    kiwi = load_labels("kiwi")
    gold = note(*(entity(10 * i, 10 * i + 4, label) for i, label in enumerate(kiwi.labels)))
    scores = score_notes([(gold, gold)], kiwi)
    found = {**scores.entities.labels, **scores.modifiers.labels}
    assert Counter(found.keys()) == Counter(kiwi.labels)
    assert all(one.strict == one.relaxed == Counts(1, 0, 0) for one in found.values())
    assert scores.relations_strict.f1 is None


def test_a_strict_relation_needs_both_spans_both_labels_and_its_own():
    problem, negation = entity(10, 14), entity(0, 3, "negation")
    drug, temporal = entity(10, 14, "drug"), entity(0, 3, "temporal")
    gold = note(problem, negation, relations=((0, 1, "hasAttr"),))
    cases = {
        "same": (gold, Counts(1, 0, 0)),
        "reordered": (note(negation, problem, relations=((1, 0, "hasAttr"),)), Counts(1, 0, 0)),
        "turned round": (note(problem, negation, relations=((1, 0, "hasAttr"),)), Counts(0, 1, 1)),
        "relation label": (note(problem, negation, relations=((0, 1, "other"),)), Counts(0, 1, 1)),
        "head label": (note(drug, negation, relations=((0, 1, "hasAttr"),)), Counts(0, 1, 1)),
        "tail label": (note(problem, temporal, relations=((0, 1, "hasAttr"),)), Counts(0, 1, 1)),
    }
    for name, (predicted, expected) in cases.items():
        scores = score_note(gold, predicted, LABELS)
        assert scores.relations_strict == expected, name
        assert scores.relations_relaxed == expected, name


def test_a_relaxed_relation_needs_both_ends_to_overlap():
    gold = note(entity(10, 14), entity(0, 3, "negation"), relations=((0, 1, "hasAttr"),))
    both = note(entity(12, 20), entity(2, 4, "negation"), relations=((0, 1, "hasAttr"),))
    head_only = note(entity(12, 20), entity(3, 4, "negation"), relations=((0, 1, "hasAttr"),))
    tail_only = note(entity(14, 20), entity(2, 4, "negation"), relations=((0, 1, "hasAttr"),))
    assert score_note(gold, both, LABELS).relations_strict == Counts(0, 1, 1)
    assert score_note(gold, both, LABELS).relations_relaxed == Counts(1, 0, 0)
    for predicted in (head_only, tail_only):
        assert score_note(gold, predicted, LABELS).relations_relaxed == Counts(0, 1, 1)


def test_relaxed_relations_of_several_labels_are_counted_together():
    ends = (entity(10, 14), entity(0, 3, "negation"), entity(15, 20, "temporal"))
    gold = note(*ends, relations=((0, 1, "hasAttr"), (0, 2, "hasAttr"), (0, 2, "other")))
    assert score_note(gold, gold, LABELS).relations_relaxed == Counts(3, 0, 0)


def test_relaxed_relations_match_one_to_one():
    gold = note(entity(0, 20), entity(30, 33, "negation"), relations=((0, 1, "hasAttr"),))
    split = note(
        entity(0, 9),
        entity(10, 20),
        entity(30, 33, "negation"),
        relations=((0, 2, "hasAttr"), (1, 2, "hasAttr")),
    )
    assert score_note(gold, split, LABELS).relations_relaxed == Counts(tp=1, fp=1, fn=0)
    assert score_note(split, gold, LABELS).relations_relaxed == Counts(tp=1, fp=0, fn=1)


def test_a_relation_given_twice_counts_once():
    once = note(entity(10, 14), entity(0, 3, "negation"), relations=((0, 1, "hasAttr"),))
    twice = note(
        entity(10, 14),
        entity(0, 3, "negation"),
        entity(10, 14),
        relations=((0, 1, "hasAttr"), (0, 1, "hasAttr"), (2, 1, "hasAttr")),
    )
    for gold, predicted in ((once, twice), (twice, once)):
        scores = score_note(gold, predicted, LABELS)
        assert scores.relations_strict == scores.relations_relaxed == Counts(1, 0, 0)
        assert score_linked([(gold, predicted)]) == Counts(1, 0, 0)


def test_linked_relations_are_scored_on_gold_entities():
    ends = (entity(10, 14), entity(0, 3, "negation"), entity(15, 20, "temporal"))
    gold = note(*ends, relations=((0, 1, "hasAttr"), (0, 2, "hasAttr")))
    linked = note(*ends, relations=((0, 1, "hasAttr"), (0, 1, "other")))
    assert score_linked([(gold, linked)]) == Counts(tp=1, fp=1, fn=1)
    assert score_linked([(gold, linked), (gold, gold)]) == Counts(tp=3, fp=1, fn=1)
    assert score_linked([]) == Counts()


def test_linked_entities_may_lack_gold_ones_but_hold_no_others():
    gold = note(entity(10, 14), entity(0, 3, "negation"), relations=((0, 1, "hasAttr"),))
    assert score_linked([(gold, note(entity(10, 14)))]) == Counts(0, 0, 1)
    with pytest.raises(DataError, match="1 of the linked entities"):
        score_linked([(gold, note(entity(10, 14), entity(0, 4, "negation")))])


def test_entities_are_counted_by_their_number_of_words() -> None:
    text = "acute left pleural effusion, cough and chest pain"
    parts = ("acute left pleural effusion", "cough", "chest pain")
    gold = Annotation(
        tuple(entity_at(text, text.index(p), text.index(p) + len(p), "problem") for p in parts)
    )
    short = entity_at(text, 6, 27, "problem")
    found = score_note(gold, Annotation((short, *gold.entities[1:])), load_labels("kiwi"))
    assert found.entities.lengths == {
        "1": Counts(tp=1),
        "2": Counts(tp=1),
        "3+": Counts(fp=1, fn=1),
    }
    assert (found + found).entities.lengths["3+"] == Counts(fp=2, fn=2)
