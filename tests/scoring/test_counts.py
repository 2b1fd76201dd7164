from __future__ import annotations

from dataclasses import replace

import pytest

from spanlake.core.labels import LabelSet
from spanlake.errors import DataError
from spanlake.scoring.counts import Counts, LayerScores, ManyCounts
from spanlake.scoring.metrics import no_scores

LABELS = LabelSet(name="tiny", main={"problem": "", "drug": ""}, modifier={"negation": ""})


def test_ratios_follow_from_the_counts():
    counts = Counts(tp=6, fp=2, fn=4)
    assert (counts.precision, counts.recall, counts.support) == (0.75, 0.6, 10)
    assert counts.f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("counts", "ratios"),
    [
        (Counts(0, 0, 3), (None, 0.0, 0.0)),  # nothing predicted
        (Counts(0, 3, 0), (0.0, None, 0.0)),  # nothing gold
        (Counts(0, 0, 0), (None, None, None)),
        (ManyCounts(predicted=0, gold=3), (None, 0.0, 0.0)),
        (ManyCounts(predicted=3, gold=0), (0.0, None, 0.0)),
        (ManyCounts(), (None, None, None)),
    ],
)
def test_a_ratio_over_nothing_is_undefined(counts, ratios):
    assert (counts.precision, counts.recall, counts.f1) == ratios


def test_counts_add_before_ratios_are_taken():
    whole = Counts(1, 0, 9) + Counts(9, 1, 0)
    assert whole == Counts(10, 1, 9)
    assert whole.f1 == pytest.approx(20 / 30)  # the mean of the two f1 would be 0.564


def test_many_to_one_keeps_the_matches_of_each_side():
    counts = ManyCounts(matched_predicted=1, matched_gold=3, predicted=2, gold=4)
    assert (counts.precision, counts.recall) == (0.5, 0.75)
    assert counts.f1 == pytest.approx(0.6)
    assert (counts.tp, counts.fp, counts.fn, counts.support) == (3, 1, 1, 4)
    assert counts + counts == ManyCounts(2, 6, 4, 8)


def test_scores_of_different_label_sets_are_not_added():
    with pytest.raises(DataError, match="different label sets"):
        LayerScores({}) + no_scores(LABELS).entities


def test_relations_on_gold_entities_are_for_all_notes_or_for_none():
    without = replace(no_scores(LABELS), notes=1)
    scored = replace(without, gold_entities=Counts(1, 2, 3))
    assert (scored + scored).gold_entities == Counts(2, 4, 6)
    assert (without + without).gold_entities is None
    for one, other in ((scored, without), (without, scored)):
        with pytest.raises(DataError, match="only one"):
            one + other


def test_no_scores_is_where_a_sum_starts():
    start = no_scores(LABELS)
    scored = replace(start, notes=1, gold_entities=Counts(0, 0, 0))
    assert start + scored == scored + start == scored
