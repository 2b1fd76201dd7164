"""What a model marks and no reader would: bullets, bars, values of other rows and columns."""

from __future__ import annotations

import time

import pytest

from spanlake.core.cleaning import clean
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, Entity, Relation, entity_at

KIWI = load_labels("kiwi")


def _at(text: str, part: str, label: str) -> Entity:
    start = text.index(part)
    return entity_at(text, start, start + len(part), label, 0.9)


def _clean(text: str, *entities: Entity, relations: tuple[tuple[int, int], ...] = ()):
    given = Annotation(entities, tuple(Relation(h, t, "hasAttr", 0.8) for h, t in relations))
    found = clean(text, given, list(range(len(entities))), (), KIWI)
    found.annotation.check(text)
    return found


@pytest.mark.parametrize(
    ("marked", "kept"),
    [
        ("# Fever", ["Fever"]),
        ("- Fever", ["Fever"]),
        ("• 2. Fever", ["Fever"]),
        ("12) Fever", ["Fever"]),
        ("| Fever |", ["Fever"]),
        ("[x] Fever", ["Fever"]),
        ("☐ Fever", ["Fever"]),
        ("r/o PE", ["PE"]),
        ("?PE", ["PE"]),
        ("NEG confusion", ["confusion"]),
        ("Edema (-)", ["Edema"]),
        ("Fever  ☐ Chills", ["Fever", "Chills"]),
        ("| Gout | Asthma", ["Gout", "Asthma"]),
        ("2 cm mass (left)", ["2 cm mass (left)"]),
        ("T.B.", ["T.B."]),
        ("chest\n     pain", ["chest\n     pain"]),
        ("#", []),
        ("--", []),
        ("12", []),
        ("|", []),
    ],
)
def test_a_main_entity_is_cut_to_what_it_names(marked: str, kept: list[str]) -> None:
    text = f"Note: {marked} today"
    found = _clean(text, _at(text, marked, "problem"))
    assert [entity.text for entity in found.annotation.entities] == kept
    assert found.dropped == ({} if kept else {"main_without_letter": 1})


@pytest.mark.parametrize(
    ("sign", "label", "kept"),
    [
        ("(-)", "negation", True),
        ("[ ]", "negation", True),
        ("?", "uncertain", True),
        ("↑", "course", True),
        ("+", "labvalue", True),
        ("+/-", "uncertain", True),
        (",", "negation", False),
        ("|", "labvalue", False),
        ("?", "route", False),
        ("2", "labvalue", True),
    ],
)
def test_a_modifier_has_a_letter_or_is_a_sign(sign: str, label: str, kept: bool) -> None:
    text = f"Fever {sign} now"
    found = _clean(text, _at(text, "Fever", "problem"), _at(text, sign, label))
    assert [entity.text for entity in found.annotation.entities] == ["Fever", *[sign] * kept]
    assert found.dropped == ({} if kept else {"modifier_without_letter_or_digit": 1})


def test_a_bullet_is_no_negation() -> None:
    text = "Exam:\n- fever\n"
    found = _clean(
        text, _at(text, "-", "negation"), _at(text, "fever", "problem"), relations=((1, 0),)
    )
    assert [entity.text for entity in found.annotation.entities] == ["fever"]
    assert found.annotation.relations == ()


def test_relations_and_sentences_follow_the_entities_that_stay() -> None:
    text = "# is no fever"
    entities = _at(text, "#", "problem"), _at(text, "no", "negation"), _at(text, "fever", "problem")
    found = _clean(text, *entities, relations=((2, 1),))
    assert found.annotation.relations == (Relation(1, 0, "hasAttr", 0.8),)
    assert found.index == (1, 2)


def test_a_modifier_of_two_cells_goes_with_the_near_one() -> None:
    text = "Fever  ☐ Chills 38.5"
    fever = _at(text, "Fever  ☐ Chills", "problem")
    found = _clean(text, fever, _at(text, "38.5", "severity"), relations=((0, 1),))
    assert found.annotation.entities[found.annotation.relations[0].head].text == "Chills"


TABLES = {
    "bars": "| Test | Result | Reference |\n| hemoglobin | 10.2 | 12.0-16.0 |\n",
    "bars without a header": "| hemoglobin | 10.2 | 12.0 - 16.0 |\n",
    "tabs": "Test\tResult\tFlag\tRange\nhemoglobin\t10.2\tL\t12.0-16.0\n",
    "columns": "Component     Value   Flag  Normal\nhemoglobin    10.2    L     > 12.0\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_reference_range_is_no_value(name: str) -> None:
    text = TABLES[name]
    span = next(part for part in ("12.0-16.0", "12.0 - 16.0", "> 12.0") if part in text)
    hemoglobin = _at(text, "hemoglobin", "test")
    values = _at(text, "10.2", "labvalue"), _at(text, span, "labvalue")
    found = _clean(text, hemoglobin, *values, relations=((0, 1), (0, 2)))
    assert [(e.text, e.label, e.by_rule) for e in found.annotation.entities[1:]] == [
        ("10.2", "labvalue", False),
        (span, "reference_range", True),
    ]
    assert [(r.score, r.by_rule) for r in found.annotation.relations] == [
        (0.8, False),
        (None, True),
    ]


def test_a_value_ends_before_the_cell_of_its_range() -> None:
    text = "hemoglobin    10.2    L     12.0-16.0\n"
    found = _clean(text, _at(text, "10.2    L     12.0-16.0", "labvalue"))
    assert [entity.text for entity in found.annotation.entities] == ["10.2    L"]


def test_a_modifier_ends_at_the_bar_of_its_cell() -> None:
    text = "| Sodium | 132 | 136-145 |\n| Cough | mild | daily |\n"
    given = [_at(text, "132 |", "labvalue"), _at(text, "136", "labvalue")]
    found = _clean(text, *given, _at(text, "mild | daily", "severity"))
    assert [(e.text, e.label) for e in found.annotation.entities] == [
        ("132", "labvalue"),
        ("136-145", "reference_range"),
        ("mild", "severity"),
    ]


def test_a_bar_and_the_range_behind_it_are_the_range() -> None:
    text = "| hemoglobin | 10.2 | 12.0-16.0 |\n"
    found = _clean(text, _at(text, "| 12.0-16.0", "labvalue"))
    assert [(e.text, e.label) for e in found.annotation.entities] == [
        ("12.0-16.0", "reference_range")
    ]


@pytest.mark.parametrize("piece", ["- ", "( ", "[ ] ", "| ", "_"])
def test_an_entity_of_bullets_over_and_over_is_cut_in_a_second(piece: str) -> None:
    text = "x" + piece * (50_000 // len(piece)) + "x"
    began = time.process_time()
    _clean(text, _at(text, text, "problem"))
    assert time.process_time() - began < 2


def test_a_range_that_is_the_value_stays_one() -> None:
    text = "Heart rate 60-80 today.\nPain 2-3 of 10\n"
    found = _clean(text, _at(text, "60-80", "labvalue"), _at(text, "2-3", "labvalue"))
    assert {entity.label for entity in found.annotation.entities} == {"labvalue"}


def test_no_relation_crosses_the_rows_of_a_table() -> None:
    text = "| sodium | 134 | low |\n| potassium | 5.4 | high |\n"
    entities = (
        _at(text, "sodium", "test"),
        _at(text, "134", "labvalue"),
        _at(text, "5.4", "labvalue"),
    )
    found = _clean(text, *entities, relations=((0, 1), (0, 2)))
    assert [(r.head, r.tail) for r in found.annotation.relations] == [(0, 1)]
    assert found.dropped == {"relation_across_table_rows": 1}


def test_the_flag_of_a_value_is_no_test() -> None:
    text = "WBC     11.8     H     4.0-11.0\n"
    found = _clean(text, _at(text, "WBC", "test"), _at(text, "H", "test"))
    assert [entity.text for entity in found.annotation.entities] == ["WBC"]
    assert found.dropped == {"flag_of_a_table": 1}
