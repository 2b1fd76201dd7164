from __future__ import annotations

import json
from dataclasses import replace

import pytest

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Entity, Relation, Span
from spanlake.scoring.counts import Counts, Scores
from spanlake.scoring.metrics import no_scores, score_notes
from spanlake.scoring.scores import rows, table, to_json

LABELS = LabelSet(
    name="tiny",
    main={"problem": "", "drug": ""},
    modifier={"negation": ""},
    relations={"hasAttr": ""},
)
SIX = {"precision", "recall", "f1", "tp", "fp", "fn"}


def entity(start: int, end: int, label: str = "problem") -> Entity:
    return Entity(Span(start, end), label, "x" * (end - start))


@pytest.fixture
def scores() -> Scores:
    """One problem over two gold ones, a negation found exactly, its relation moved; no drug."""
    negation = entity(20, 22, "negation")
    gold = Annotation((entity(0, 4), entity(5, 9), negation), (Relation(1, 2, "hasAttr"),))
    predicted = Annotation((entity(0, 9), negation), (Relation(0, 1, "hasAttr"),))
    return score_notes([(gold, predicted)], LABELS)


def test_json_has_the_documented_shape(scores):
    missed = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "tp": 0, "fp": 1, "fn": 2}
    half = {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "tp": 1, "fp": 0, "fn": 1}
    many = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "tp": 2, "fp": 0, "fn": 0}
    right = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "tp": 1, "fp": 0, "fn": 0}
    wrong = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "tp": 0, "fp": 1, "fn": 1}
    empty = {"precision": None, "recall": None, "f1": None, "tp": 0, "fp": 0, "fn": 0}
    assert to_json(scores) == {
        "entities": {
            "strict": missed,
            "relaxed": half,
            "relaxed_many": many,
            "labels": {
                "problem": {"strict": missed, "relaxed": half},
                "drug": {"strict": empty, "relaxed": empty},
            },
            "lengths": {"1": missed, "2": empty, "3+": empty},
        },
        "modifiers": {
            "strict": right,
            "relaxed": right,
            "relaxed_many": right,
            "labels": {"negation": {"strict": right, "relaxed": right}},
            "lengths": {"1": right, "2": empty, "3+": empty},
        },
        "relations": {"gold_entities": None, "strict": wrong, "relaxed": right},
    }


def test_json_of_no_notes_has_null_ratios_and_every_label():
    written = json.loads(json.dumps(to_json(no_scores(LABELS)), allow_nan=False))
    assert list(written["entities"]["labels"]) == ["problem", "drug"]
    assert written["relations"]["gold_entities"] is None
    for counts in (written["entities"]["relaxed_many"], written["relations"]["strict"]):
        assert counts.keys() == SIX
        assert (counts["precision"], counts["recall"], counts["f1"]) == (None, None, None)
        assert (counts["tp"], counts["fp"], counts["fn"]) == (0, 0, 0)


def test_relations_on_gold_entities_are_written_when_they_were_scored(scores):
    linked = to_json(replace(scores, gold_entities=Counts(3, 1, 1)))["relations"]["gold_entities"]
    assert linked == {"precision": 0.75, "recall": 0.75, "f1": 0.75, "tp": 3, "fp": 1, "fn": 1}


def test_rules_stand_beside_the_relations_on_gold_entities(scores):
    rules = {"nearest head": Counts(3, 1, 1)}
    ratio = {"precision": 0.75, "recall": 0.75, "f1": 0.75, "tp": 3, "fp": 1, "fn": 1}
    assert to_json(scores, rules)["relations"]["baselines"] == {"nearest head": ratio}
    lines = table(scores, rules).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  gold entities"))
    assert lines[at + 1].split() == ["nearest", "head", "0.750", "0.750", "0.750", "4"]


def test_rows_are_flat_and_carry_the_given_columns(scores):
    found = rows(scores, run_id="r1", split="dev")
    assert len(found) == (1 + 2) * 3 + (1 + 1) * 3 + 2
    assert found[0] == {
        "run_id": "r1",
        "split": "dev",
        "level": "entities",
        "label": None,
        "mode": "strict",
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "tp": 0,
        "fp": 1,
        "fn": 2,
        "support": 2,
    }
    assert all(row.keys() == found[0].keys() for row in found)


def test_rows_name_each_level_label_and_mode_once(scores):
    found = rows(replace(scores, gold_entities=Counts(1, 0, 0)))
    keys = [(row["level"], row["label"], row["mode"]) for row in found]
    assert len(set(keys)) == len(keys)
    assert {mode for level, label, mode in keys if (level, label) == ("relations", None)} == {
        "gold_entities",
        "strict",
        "relaxed",
    }
    for label in (None, "problem", "drug"):
        modes = [mode for level, name, mode in keys if (level, name) == ("entities", label)]
        assert modes == ["strict", "relaxed", "relaxed_many"]


def test_a_given_column_may_not_replace_one_of_the_scores(scores):
    with pytest.raises(TypeError, match="label"):
        rows(scores, label="mine")


def test_the_table_prints_ratios_counts_and_dashes(scores):
    assert table(scores) == (
        "entities             P      R     F1  relaxed F1  support\n"
        "  micro          0.000  0.000  0.000       0.667        2\n"
        "  problem        0.000  0.000  0.000       0.667        2\n"
        "  drug               -      -      -           -        0\n"
        "  1 word         0.000  0.000  0.000                    2\n"
        "  2 words            -      -      -                    0\n"
        "  3+ words           -      -      -                    0\n"
        "\n"
        "modifiers            P      R     F1  relaxed F1  support\n"
        "  micro          1.000  1.000  1.000       1.000        1\n"
        "  negation       1.000  1.000  1.000       1.000        1\n"
        "  1 word         1.000  1.000  1.000                    1\n"
        "  2 words            -      -      -                    0\n"
        "  3+ words           -      -      -                    0\n"
        "\n"
        "relations            P      R     F1              support\n"
        "  gold entities      -      -      -                    -\n"
        "  strict         0.000  0.000  0.000                    1\n"
        "  relaxed        1.000  1.000  1.000                    1\n"
    )


def test_a_long_label_widens_the_table_evenly():
    long = "a_label_that_is_longer_than_the_others"
    printed = table(no_scores(LabelSet(name="long", main={long: "", "b": ""})))
    widths = {len(line) for line in printed.splitlines() if line}
    assert f"  {long} " in printed
    assert len(widths) == 1
