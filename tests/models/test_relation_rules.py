"""Which head a modifier gets: containment, nearness, direction, and spreading lists."""

from __future__ import annotations

import random

import pytest

from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Entity, Relation, Unit, entity_at
from spanlake.models.dictionary import Dictionary
from spanlake.models.lexicon import load_lexicon
from spanlake.models.relation_rules import NearestHeadRule

KIWI = load_labels("kiwi")
DICTIONARY = Dictionary(KIWI)
LINKER = NearestHeadRule(KIWI, load_lexicon("kiwi"))


def pairs(text: str, label: str) -> list[tuple[str, str]]:
    """Return (head text, tail text) of the relations whose tail has the label."""
    [extraction] = DICTIONARY.extract([Unit(text)])
    both = [
        (extraction.entities[r.head], extraction.entities[r.tail]) for r in extraction.relations
    ]
    return [(head.text, tail.text) for head, tail in both if tail.label == label]


@pytest.mark.parametrize(
    ("text", "heads"),
    [
        ("No fever, chills, or night sweats.", ["fever", "chills", "night sweats"]),
        ("Denies nausea/vomiting, and any rash", ["nausea", "vomiting", "rash"]),
        ("No fever or chills but has cough", ["fever", "chills"]),
        ("No fever or chills; cough is mild", ["fever", "chills"]),
        ("No fever. Cough is mild", ["fever"]),
        ("No fever, chills, has cough", ["fever", "chills"]),
        ("No INR of 3.5, fever or cough", ["INR"]),
        ("Without fever and, in spite of it, CT done, chills", ["fever", "chills"]),
        ("Chest pain: denied", ["Chest pain"]),
        ("Fever; cough: none", ["cough"]),
        ("No fever; cough: none", ["fever", "cough"]),
    ],
)
def test_a_negation_takes_the_coordinated_list_up_to_a_break(text: str, heads: list[str]) -> None:
    assert [head for head, _ in pairs(text, "negation")] == heads


def test_a_second_negation_ends_the_reach_of_the_first() -> None:
    text = "No fever, no chills and denies cough, rash"
    assert pairs(text, "negation") == [
        ("fever", "No"),
        ("chills", "no"),
        ("cough", "denies"),
        ("rash", "denies"),
    ]


def test_dots_in_numbers_and_abbreviations_do_not_break_a_list() -> None:
    text = "No fever above 38.5, Lasix p.o. b.i.d., chills"
    assert [head for head, _ in pairs(text, "negation")] == ["fever", "chills"]


def test_each_family_member_takes_what_is_said_of_them() -> None:
    text = "Mother had diabetes and hypertension; father died of stroke, sister healthy."
    assert pairs(text, "subject") == [
        ("diabetes", "Mother"),
        ("hypertension", "Mother"),
        ("stroke", "father"),
    ]


def test_family_history_is_the_subject_of_the_listed_problems() -> None:
    text = "FAMILY HISTORY: Positive for breast cancer and stroke."
    assert [head for head, _ in pairs(text, "subject")] == ["breast cancer", "stroke"]


def test_drug_details_belong_to_the_drug_before_them() -> None:
    text = "Lisinopril 10 mg p.o. daily, metoprolol 25 mg b.i.d., Lasix."
    assert pairs(text, "strength") == [("Lisinopril", "10 mg"), ("metoprolol", "25 mg")]
    assert pairs(text, "frequency") == [("Lisinopril", "daily"), ("metoprolol", "b.i.d.")]


def test_a_detail_prefers_the_drug_before_it_to_one_a_little_nearer() -> None:
    assert pairs("aspirin was given 81 mg, Plavix later", "strength") == [("aspirin", "81 mg")]


def test_a_detail_right_before_its_drug_beats_a_drug_far_off() -> None:
    text = "Lisinopril was stopped and now he is taking 10 mg of amlodipine"
    assert pairs(text, "strength") == [("amlodipine", "10 mg")]


def test_results_and_ranges_belong_to_the_test_before_them() -> None:
    text = "Sodium 138, potassium 7.2 mmol/L (ref 3.5-5.1), chloride 101"
    assert pairs(text, "labvalue") == [
        ("Sodium", "138"),
        ("potassium", "7.2 mmol/L"),
        ("chloride", "101"),
    ]
    assert pairs(text, "reference_range") == [("potassium", "3.5-5.1")]


def test_a_body_part_belongs_to_the_problem_that_contains_it() -> None:
    assert pairs("rash, left knee pain, rash", "bodyloc") == [("left knee pain", "left knee")]


def test_a_severity_belongs_to_the_nearest_problem() -> None:
    assert pairs("headache, severe nausea", "severity") == [("nausea", "severe")]
    assert pairs("headache is severe; nausea", "severity") == [("headache", "severe")]


def test_given_entities_may_come_in_any_order() -> None:
    text = "No fever or chills, aspirin 81 mg"
    named = [("No", "negation"), ("fever", "problem"), ("chills", "problem")]
    named += [("aspirin", "drug"), ("81 mg", "strength")]
    entities = [entity_at(text, i := text.index(t), i + len(t), label) for t, label in named]
    expected = {("fever", "No"), ("chills", "No"), ("aspirin", "81 mg")}
    for seed in range(5):
        random.Random(seed).shuffle(entities)
        found = LINKER.score_relations(text, entities)
        assert {(entities[r.head].text, entities[r.tail].text) for r in found} == expected


def test_given_mains_that_overlap_are_linked_without_harm() -> None:
    text = "severe knee pain"
    entities = [entity_at(text, 0, 16, "problem"), entity_at(text, 7, 16, "problem")]
    entities.append(entity_at(text, 0, 6, "severity"))
    assert LINKER.score_relations(text, entities) == [Relation(0, 2, "hasAttr", 1.0)]


def test_entities_of_a_text_without_words_do_no_harm() -> None:
    entities = [entity_at("   ", 0, 1, "severity"), entity_at("   ", 2, 3, "problem")]
    assert LINKER.score_relations("   ", entities) == [Relation(1, 0, "hasAttr", 1.0)]


def test_nothing_to_link_gives_no_relations() -> None:
    lone: list[Entity] = [entity_at("no", 0, 2, "negation")]
    assert DICTIONARY.score_relations([Unit("no"), Unit("")], [lone, []]) == [[], []]


def test_each_unit_s_entities_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        DICTIONARY.score_relations([Unit("no"), Unit("")], [[]])


def test_labels_that_may_relate_to_themselves_never_relate_an_entity_to_itself() -> None:
    own = LabelSet(
        name="own", main={"Gene": ""}, relations={"binds": ""}, pairs={"Gene": ("Gene",)}
    )
    linker = NearestHeadRule(own, load_lexicon("kiwi"))
    lone = [entity_at("a b", 0, 1, "Gene")]
    assert linker.score_relations("a b", lone) == []
    both = linker.score_relations("a b", [*lone, entity_at("a b", 2, 3, "Gene")])
    assert {(relation.head, relation.tail) for relation in both} == {(0, 1), (1, 0)}


def test_a_label_set_without_relations_has_none() -> None:
    bare = KIWI.model_copy(update={"relations": {}})
    text = "no fever"
    entities = [entity_at(text, 0, 2, "negation"), entity_at(text, 3, 8, "problem")]
    assert NearestHeadRule(bare, load_lexicon("kiwi")).score_relations(text, entities) == []
