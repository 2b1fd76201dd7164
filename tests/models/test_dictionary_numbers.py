"""The dictionary's patterns: doses, results, ranges, dates and times, each found whole."""

from __future__ import annotations

import pytest

from spanlake.core.labels import load_labels
from spanlake.core.types import Unit
from spanlake.models.dictionary import Dictionary

DICTIONARY = Dictionary(load_labels("kiwi"))


def found(text: str) -> list[tuple[str, str]]:
    """Return (text, label) of each entity, in order."""
    [extraction] = DICTIONARY.extract([Unit(text)])
    return [(entity.text, entity.label) for entity in extraction.entities]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lisinopril 10 mg", ("10 mg", "strength")),
        ("Lisinopril 2.5mg", ("2.5mg", "strength")),
        ("Percocet 5/325 mg", ("5/325 mg", "strength")),
        ("Augmentin 400 mg/5 mL", ("400 mg/5 mL", "strength")),
        ("dopamine 5 mcg/kg", ("5 mcg/kg", "strength")),
        ("morphine .5 mg", (".5 mg", "strength")),
        ("heparin 1,500 mg", ("1,500 mg", "strength")),
        ("Percocet 1 tablet", ("1 tablet", "dosage")),
        ("albuterol two puffs", ("two puffs", "dosage")),
        ("Percocet 1-2 tablets", ("1-2 tablets", "dosage")),
        ("insulin 10 units", ("10 units", "dosage")),
        ("Lasix b.i.d.", ("b.i.d.", "frequency")),
        ("Lasix b.i.d,", ("b.i.d", "frequency")),
        ("Lasix twice daily", ("twice daily", "frequency")),
        ("Lasix q6h", ("q6h", "frequency")),
        ("Lasix q. 4-6 h.", ("q. 4-6 h.", "frequency")),
        ("Lasix every 6 to 8 hours", ("every 6 to 8 hours", "frequency")),
        ("Lasix 3 times a day", ("3 times a day", "frequency")),
        ("Keflex for 7 days", ("for 7 days", "duration")),
        ("Keflex x10 days", ("x10 days", "duration")),
        ("Keflex, 5-day course", ("5-day course", "duration")),
        ("glucose 7.2 mg/dL", ("7.2 mg/dL", "labvalue")),
        ("glucose level was 141", ("141", "labvalue")),
        ("Glucose: >400", (">400", "labvalue")),
        ("BP of 120/80", ("120/80", "labvalue")),
        ("A1c 7.2% on metformin", ("7.2%", "labvalue")),
        ("troponin was negative", ("negative", "labvalue")),
        ("potassium 4.1 (ref 3.5-5.1)", ("3.5-5.1", "reference_range")),
        ("potassium 4.1 [3.5 - 5.1 mmol/L]", ("3.5 - 5.1 mmol/L", "reference_range")),
        ("seen 3/12/2020", ("3/12/2020", "temporal")),
        ("seen on March 3rd, 2020", ("March 3rd, 2020", "temporal")),
        ("since 2015", ("2015", "temporal")),
        ("at 10:30 a.m.", ("10:30 a.m.", "temporal")),
        ("three days ago", ("three days ago", "temporal")),
        ("cough over the past 2 weeks", ("over the past 2 weeks", "temporal")),
        ("postoperative day #2", ("postoperative day #2", "temporal")),
        ("pain 8/10", ("8/10", "severity")),
        ("cancer, stage IIIb", ("stage IIIb", "severity")),
        ("dyspnea with stairs", ("with stairs", "condition")),
        ("rash, likely", ("likely", "uncertain")),
    ],
)
def test_numbers_with_units_are_found_whole(text: str, expected: tuple[str, str]) -> None:
    assert expected in found(text)


def test_a_number_far_from_any_test_is_no_lab_value() -> None:
    assert found("Potassium was drawn and 3 nurses came.") == [("Potassium", "test")]


def test_the_words_of_a_strength_are_no_lab_value_and_the_other_way_round() -> None:
    assert found("hemoglobin 10.2 g/dL, aspirin 81 mg") == [
        ("hemoglobin", "test"),
        ("10.2 g/dL", "labvalue"),
        ("aspirin", "drug"),
        ("81 mg", "strength"),
    ]
