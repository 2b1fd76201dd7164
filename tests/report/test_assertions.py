from __future__ import annotations

import json

from gold_notes import NOTES, gold_note
from spanlake.cli import main
from spanlake.core.assertions import Assertion, assertions
from spanlake.core.corpora import write_brat
from spanlake.core.counts import Counts
from spanlake.core.labels import load_labels
from spanlake.core.scoring import no_scores
from spanlake.models.scoring import ScoredNote
from spanlake.report.assertions import assertion_counts
from spanlake.report.scores import assertion_table

TEXT = "Her mother may have asthma. No fever, no rash."
PARTS = (("mother", "subject"), ("may have", "uncertain"), ("asthma", "problem"))
MORE = (("No", "negation"), ("fever", "problem"), ("no", "negation"), ("rash", "problem"))
GOLD = gold_note("n", TEXT, *PARTS, *MORE, relations=[(2, 0), (2, 1), (4, 3), (6, 5)])


def _scored(predicted) -> ScoredNote:
    return ScoredNote(GOLD, predicted.annotation, no_scores(load_labels("kiwi")))


def test_what_modifiers_say_of_an_entity():
    said = assertions(GOLD.annotation)
    assert said[2] == Assertion(negated=False, uncertain=True, subject="mother")
    assert [one.negated for one in said] == [False, False, False, False, True, False, True]


def test_an_entity_and_its_column_must_both_be_right():
    unlinked = gold_note("n", TEXT, *PARTS, *MORE, relations=[(2, 1), (4, 3)])
    assert assertion_counts([_scored(GOLD), _scored(unlinked)]) == {
        "negated": Counts(3, 0, 1),
        "uncertain": Counts(2, 0, 0),
        "subject": Counts(1, 0, 1),
    }
    elsewhere = (("No", "negation"), ("fever", "test"), ("asthma", "problem"))
    wrong = gold_note("n", TEXT, *elsewhere, relations=[(1, 0), (2, 0)])
    assert assertion_counts([_scored(wrong)]) == {
        "negated": Counts(0, 2, 2),
        "uncertain": Counts(0, 0, 1),
        "subject": Counts(0, 0, 1),
    }


def test_a_column_that_holds_for_nothing_is_left_out():
    plain = gold_note("n", "Asthma.", ("Asthma", "problem"))
    one = ScoredNote(plain, plain.annotation, no_scores(load_labels("kiwi")))
    assert assertion_counts([one]) == {}


def test_they_are_printed():
    lines = assertion_table({"negated": Counts(3, 1, 2)}).splitlines()
    assert lines[0].split() == ["assertions", "P", "R", "F1", "support"]
    assert lines[1].split() == ["negated", "0.750", "0.600", "0.667", "5"]


def test_an_evaluation_says_them(tmp_path, capsys):
    gold, out = tmp_path / "gold", tmp_path / "scores.json"
    write_brat(gold, NOTES[:2])
    call = ["evaluate", "--gold", str(gold), "--predicted", str(gold), "--json", str(out)]
    assert main(call) == 0
    assert "  negated" in capsys.readouterr().out
    found = json.loads(out.read_text())["assertions"]
    assert found == {
        "negated": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "tp": 1, "fp": 0, "fn": 0}
    }
