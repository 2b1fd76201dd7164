from __future__ import annotations

from dataclasses import replace

import pytest

from gold_notes import NOTES
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation
from spanlake.scoring.metrics import score_note
from spanlake.scoring.outcomes import score_outcomes
from spanlake.scoring.score_extractor import ScoredNote

KIWI = load_labels("kiwi")
GOLD = NOTES[0]  # two sentences: two entities and a relation, three and two


def _scored(predicted: Annotation, *confidences: float | None) -> ScoredNote:
    scores = score_note(GOLD.annotation, predicted, KIWI)
    return ScoredNote(GOLD, predicted, scores, confidences)


def _sure(answer: Annotation, score: float) -> Annotation:
    entities = tuple(replace(one, score=score) for one in answer.entities)
    return Annotation(entities, tuple(replace(one, score=score) for one in answer.relations))


def test_every_probability_stands_beside_what_came_true() -> None:
    right = _sure(GOLD.annotation, 0.9)
    metformin, *others = right.entities[2:]
    wrong = replace(metformin, label="treatment")
    predicted = Annotation((*right.entities[:2], wrong, *others), right.relations)
    found = score_outcomes([_scored(predicted, 0.8, 0.3)], KIWI)
    told = {kind: (sure.tolist(), right.tolist()) for kind, (sure, right) in found.items()}
    assert told == {
        "main spans": ([0.9, 0.9], [True, False]),
        "modifier spans": ([0.9] * 3, [True] * 3),
        "relations": ([0.9] * 3, [True, False, False]),
        "sentences": ([0.8, 0.3], [True, False]),
    }


@pytest.mark.parametrize("kept", [slice(0, 4), slice(0, 0)])
def test_a_sentence_that_misses_something_is_wrong(kept: slice) -> None:
    predicted = Annotation(GOLD.annotation.entities[kept], ())
    sure, right = score_outcomes([_scored(predicted, 0.5, 0.6)], KIWI)["sentences"]
    assert (list(sure), list(right)) == ([0.5, 0.6], [False, False])


def test_a_score_of_a_link_alone_is_not_judged_by_its_ends() -> None:
    found = score_outcomes([_scored(_sure(GOLD.annotation, 0.9), None, None)], KIWI)
    assert set(found) == {"main spans", "modifier spans"}


def test_an_answer_without_probabilities_tells_none() -> None:
    assert score_outcomes([_scored(GOLD.annotation)], KIWI) == {}
    assert score_outcomes([_scored(GOLD.annotation, None, None)], KIWI) == {}
