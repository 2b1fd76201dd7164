from __future__ import annotations

import pytest

from paper_scorers import kiwi_scores, main, semeval_scores, tag_pairs
from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, entity_at

LABELS = LabelSet(name="tiny", main={"problem": "", "drug": ""})


def tags(short: str) -> list[str]:
    """Spell tags out: "B I . D" is B-problem I-problem O B-drug."""
    names = {"B": "B-problem", "I": "I-problem", "D": "B-drug", "E": "I-drug", ".": "O"}
    return [names[letter] for letter in short.split()]


def pair(gold: str, predicted: str) -> tuple[list[str], list[str]]:
    return tags(gold), tags(predicted)


def ratios(found) -> tuple[float, float, float]:
    return found["precision"], found["recall"], found["f1"]


def test_both_agree_with_us_where_all_is_right():
    right = [pair("B I . D .", "B I . D ."), pair(". B .", ". B .")]
    kiwi, semeval = kiwi_scores(right), semeval_scores(right)
    for found in (kiwi["exact"], kiwi["relaxed"], semeval["strict"], semeval["partial"]):
        assert ratios(found) == (1.0, 1.0, 1.0)


def test_kiwi_takes_what_only_touches_for_a_relaxed_match():
    assert kiwi_scores([pair("B . .", ". B .")])["relaxed"]["right_gold"] == 1
    assert kiwi_scores([pair("B . . .", ". . B .")])["relaxed"]["right_gold"] == 0
    assert kiwi_scores([pair("B . .", ". D .")])["relaxed"]["right_gold"] == 0
    # Notes follow one another with an empty line between, so they do not touch.
    assert kiwi_scores([pair(". B", ". ."), pair(". .", "B .")])["relaxed"]["right_gold"] == 0


def test_kiwi_swaps_the_numerators_so_that_precision_exceeds_one():
    relaxed = kiwi_scores([pair("B . B . .", "B I I . .")])["relaxed"]
    assert (relaxed["right_gold"], relaxed["right_predicted"]) == (2, 1)
    assert ratios(relaxed) == (2.0, 0.5, pytest.approx(0.8))


def test_kiwi_cuts_an_entity_that_ends_the_file():
    exact = kiwi_scores([pair(". B I", ". B .")])["exact"]
    assert exact["right"] == 1
    assert kiwi_scores([pair(". B I .", ". B . .")])["exact"]["right"] == 0
    assert kiwi_scores([pair(". B I", ". B ."), pair(".", ".")])["exact"]["right"] == 0


def test_kiwi_has_no_ratios_of_nothing():
    assert ratios(kiwi_scores([pair(". .", ". .")])["exact"]) == (None, None, None)
    assert ratios(kiwi_scores([pair("B .", ". .")])["exact"]) == (None, 0.0, None)


def test_semeval_tells_its_five_outcomes_apart():
    found = semeval_scores([pair("B I . B . B I I . B . .", "B I . D . B I . . . . B")])["strict"]
    kinds = ("correct", "mislabelled", "overlapping", "missed", "spurious")
    assert [found[kind] for kind in kinds] == [1, 1, 1, 1, 1]
    assert ratios(found) == (0.25, 0.25, 0.25)


def test_semeval_gives_half_for_an_overlap_and_all_for_another_label():
    found = semeval_scores([pair("B I . B . B I I . B . .", "B I . D . B I . . . . B")])["partial"]
    assert found["precision"] == (1 + 1 + 0.5) / 4


def test_semeval_overlaps_leave_the_last_word_out():
    found = semeval_scores([pair("B I .", "B . .")])["partial"]
    assert (found["overlapping"], found["missed"], found["spurious"]) == (0, 1, 1)
    found = semeval_scores([pair("B I I", ". B I")])["partial"]
    assert found["overlapping"] == 1
    found = semeval_scores([pair("B I I", ". . B")])["partial"]
    assert found["overlapping"] == 0


def test_semeval_counts_a_gold_entity_once_a_wrong_prediction():
    found = semeval_scores([pair("B I I I I", "B I D E .")])["strict"]
    assert found["overlapping"] == 2
    assert found["recall"] == 0.0
    found = semeval_scores([pair("B I I I I . B .", "B I D E . . B .")])["strict"]
    assert found["recall"] == pytest.approx(1 / 3)  # of two gold entities


def test_semeval_lengths_hide_what_is_too_long_and_put_it_into_bucket_one():
    lengths = semeval_scores([pair("B I . .", "B I I .")])["lengths"]
    assert ratios(lengths["2"]) == (1.0, 1.0, 1.0)
    assert (lengths["1"]["spurious"], lengths["1"]["correct"]) == (1, 0)
    assert lengths["3+"]["precision"] is None


def test_an_i_tag_without_its_b_opens_an_entity():
    assert kiwi_scores([pair(". B .", ". I .")])["exact"]["right"] == 1
    assert semeval_scores([pair(". B .", ". I .")])["strict"]["correct"] == 1


def test_tags_are_those_of_the_words():
    text = "Left knee pain."
    gold = Annotation((entity_at(text, 0, 14, "problem"),))
    predicted = Annotation((entity_at(text, 5, 14, "drug"),))
    [(ours, theirs)] = tag_pairs([(text, gold, predicted)], LABELS, "main")
    assert list(ours) == tags("B I I .")
    assert list(theirs) == tags(". D E .")


def test_the_script_prints_our_scores_beside_theirs(few_samples, capsys):
    assert main(["--gold", str(few_samples), "--predicted", str(few_samples)]) == 0
    printed = capsys.readouterr().out
    assert "ours, strict" in printed and "2411.10020 (Kiwi), exact" in printed
