from __future__ import annotations

import pytest

from gold_notes import gold_note
from spanlake.core.labels import LabelSet, load_labels
from spanlake.scoring.counts import Counts
from spanlake.scoring.relation_baselines import relation_baselines

KIWI = load_labels("kiwi")
LIST = gold_note(
    "list",
    "No fever, chills or rash. Mild cough.",
    ("No", "negation"),
    ("fever", "problem"),
    ("chills", "problem"),
    ("rash", "problem"),
    ("Mild", "severity"),
    ("cough", "problem"),
    relations=[(1, 0), (2, 0), (3, 0), (5, 4)],
)
VALUE = gold_note(
    "value",
    "Sodium was at 140 glucose 90.",
    ("Sodium", "test"),
    ("140", "labvalue"),
    ("glucose", "test"),
    ("90", "labvalue"),
    relations=[(0, 1), (2, 3)],
)


def test_only_the_second_rule_spreads_over_lists_and_looks_back():
    assert relation_baselines([LIST], KIWI) == {
        "nearest head": Counts(tp=2, fp=0, fn=2),
        "nearest head, lists": Counts(tp=4, fp=0, fn=0),
    }
    assert relation_baselines([VALUE], KIWI) == {
        "nearest head": Counts(tp=1, fp=1, fn=1),
        "nearest head, lists": Counts(tp=2, fp=0, fn=0),
    }


def test_counts_are_pooled_over_notes():
    both = relation_baselines([LIST, VALUE], KIWI)
    assert both["nearest head"] == Counts(3, 1, 3)


@pytest.mark.parametrize("relations", [{}, {"causes": "", "treats": ""}])
def test_a_label_set_without_exactly_one_relation_has_no_rules(relations):
    labels = LabelSet(name="other", main={"problem": ""}, relations=relations)
    assert relation_baselines([], labels) == {}


def test_lists_are_worth_much_on_real_notes(corpora):
    from spanlake.corpora import read_brat

    notes, _ = read_brat(corpora / "mtsamples_kiwi" / "dev", KIWI)
    found = relation_baselines(notes, KIWI)
    assert found["nearest head"].f1 == pytest.approx(0.824, abs=0.001)
    assert found["nearest head, lists"].f1 == pytest.approx(0.944, abs=0.001)
