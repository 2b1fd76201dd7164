from __future__ import annotations

import json
from dataclasses import replace

from gold_notes import NOTES, gold_note
from spanlake.cli import main
from spanlake.core.assertions import Assertion, assertions
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, Relation
from spanlake.corpora import write_brat
from spanlake.scoring.assertions import assertion_counts
from spanlake.scoring.counts import Counts
from spanlake.scoring.metrics import no_scores
from spanlake.scoring.score_extractor import ScoredNote
from spanlake.scoring.scores import assertion_table

TEXT = "Her mother may have asthma. No fever, no rash."
PARTS = (("mother", "subject"), ("may have", "uncertain"), ("asthma", "problem"))
MORE = (("No", "negation"), ("fever", "problem"), ("no", "negation"), ("rash", "problem"))
GOLD = gold_note("n", TEXT, *PARTS, *MORE, relations=[(2, 0), (2, 1), (4, 3), (6, 5)])


KIWI = load_labels("kiwi")


def _scored(predicted) -> ScoredNote:
    return ScoredNote(GOLD, predicted.annotation, no_scores(KIWI))


def test_what_modifiers_say_of_an_entity():
    said = assertions(GOLD.annotation, KIWI)
    assert said[2] == Assertion(negated=False, uncertain=True, subject="mother")
    assert said[4] == Assertion(negated=True, uncertain=False, subject="patient")
    assert [one.negated for one in said] == [None, None, False, None, True, None, True]


def test_what_is_not_known_is_null():
    """A relation that is neither accepted nor rejected, and a pair that the label set lacks."""
    fever = GOLD.annotation.entities[4]
    drug = replace(GOLD.annotation.entities[6], label="drug")
    cue = GOLD.annotation.entities[3]
    found = Annotation((fever, drug, cue), (Relation(1, 2, "hasAttr"),))
    said = assertions(found, KIWI, [Relation(0, 2, "hasAttr", 0.3), Relation(1, 2, "hasAttr", 0.3)])
    assert said[0] == Assertion(negated=None, uncertain=False, subject="patient")
    assert said[1] == Assertion(negated=True, uncertain=None, subject=None)


def test_a_null_holds_for_nothing():
    lacking = load_labels("phee")
    plain = Annotation(GOLD.annotation.entities)
    assert set(assertions(plain, lacking)) == {Assertion(None, None, None)}
    assert assertion_counts([ScoredNote(replace(GOLD, annotation=plain), plain, no_scores(KIWI))],
                            lacking) == {}  # fmt: skip


def test_an_entity_and_its_column_must_both_be_right():
    unlinked = gold_note("n", TEXT, *PARTS, *MORE, relations=[(2, 1), (4, 3)])
    assert assertion_counts([_scored(GOLD), _scored(unlinked)], KIWI) == {
        "negated": Counts(3, 0, 1),
        "uncertain": Counts(2, 0, 0),
        "subject": Counts(1, 0, 1),
    }
    elsewhere = (("No", "negation"), ("fever", "test"), ("asthma", "problem"))
    wrong = gold_note("n", TEXT, *elsewhere, relations=[(1, 0), (2, 0)])
    assert assertion_counts([_scored(wrong)], KIWI) == {
        "negated": Counts(0, 2, 2),
        "uncertain": Counts(0, 0, 1),
        "subject": Counts(0, 0, 1),
    }
    assert assertion_counts([_scored(wrong)], KIWI, among_found=True) == {
        "negated": Counts(0, 1, 0),
        "uncertain": Counts(0, 0, 1),
        "subject": Counts(0, 0, 1),
    }


def test_a_missed_entity_costs_nothing_among_those_found():
    half = gold_note("n", TEXT, *PARTS, relations=[(2, 0), (2, 1)])
    assert assertion_counts([_scored(half)], KIWI)["negated"] == Counts(0, 0, 2)
    assert "negated" not in assertion_counts([_scored(half)], KIWI, among_found=True)


def test_a_column_that_holds_for_nothing_is_left_out():
    plain = gold_note("n", "Asthma.", ("Asthma", "problem"))
    one = ScoredNote(plain, plain.annotation, no_scores(KIWI))
    assert assertion_counts([one], KIWI) == {}


def test_they_are_printed():
    lines = assertion_table("assertions", {"negated": Counts(3, 1, 2)}).splitlines()
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


def test_an_evaluation_tells_what_rules_add(tmp_path, capsys):
    """The folder's relation by rule is right: with it the scores are better than without."""
    gold, out, predicted = tmp_path / "gold", tmp_path / "scores.json", tmp_path / "predicted"
    write_brat(gold, NOTES[:2])
    write_brat(predicted, [replace(one, annotation=_by_rule(one.annotation)) for one in NOTES[:2]])
    call = ["evaluate", "--gold", str(gold), "--predicted", str(predicted), "--json", str(out)]
    assert main(call) == 0
    assert "F1 without" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["relations"]["strict"]["f1"] == found["modifiers"]["strict"]["f1"] == 1.0
    alone = found["without_rules"]
    assert alone["relations"]["strict"]["tp"] < found["relations"]["strict"]["tp"]
    assert alone["modifiers"]["strict"]["tp"] == found["modifiers"]["strict"]["tp"] - 1
    assert found["assertions_among_found"]["negated"]["f1"] == 1.0


def _by_rule(annotation: Annotation) -> Annotation:
    """Return the annotation with its negations, and the relations to them, as a rule's."""
    entities = tuple(replace(e, by_rule=e.label == "negation") for e in annotation.entities)
    relations = tuple(replace(r, by_rule=entities[r.tail].by_rule) for r in annotation.relations)
    return Annotation(entities, relations)
