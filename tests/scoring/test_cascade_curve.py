"""F1 of a cascade by the share of its second model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gold_notes import NOTES
from spanlake.core.labels import load_labels
from spanlake.core.types import Extraction, units_of
from spanlake.scoring.cascade_curve import SHARES, cascade_curve, curve_lines
from spanlake.text.sentences import split

KIWI = load_labels("kiwi")


class Answering:
    """A model that gives the gold entities of a sentence, or nothing."""

    def __init__(self, right: bool) -> None:
        self.right = right
        self.gold = {}
        for gold in NOTES:
            sentences = split(gold.note.note_text)
            for unit, sentence in zip(
                units_of(gold.note.note_text, sentences), sentences, strict=True
            ):
                inside = [e for e in gold.annotation.entities if sentence.span.contains(e.span)]
                self.gold[unit.target] = [e.shift(-sentence.span.start) for e in inside]

    def extract(self, units):
        return [
            Extraction(
                "ok",
                tuple(self.gold[unit.target]) if self.right else (),
                chars_seen=len(unit.target),
                confidence=i / len(units),
            )
            for i, unit in enumerate(units)
        ]


def test_f1_rises_with_the_share_of_the_better_model():
    cascade = SimpleNamespace(
        first=Answering(False), second=Answering(True), context=0, labels=KIWI
    )
    points = cascade_curve(NOTES, cascade)
    assert [point.share for point in points] == list(SHARES)
    assert points[0].main in (None, 0.0)
    assert points[-1].main == 1.0
    values = [point.main or 0.0 for point in points]
    assert values == sorted(values) and values[-2] < 1.0
    assert [p.threshold for p in points] == sorted(p.threshold for p in points)
    text = curve_lines(points)
    assert len(text.splitlines()) == 1 + len(SHARES) and "100.0" in text


def test_the_threshold_of_a_point_passes_its_share_on():
    cascade = SimpleNamespace(
        first=Answering(False), second=Answering(True), context=0, labels=KIWI
    )
    units = [u for g in NOTES for u in units_of(g.note.note_text, split(g.note.note_text))]
    confidences = [answer.confidence for answer in cascade.first.extract(units)]
    for point in cascade_curve(NOTES, cascade):
        below = sum(value < point.threshold for value in confidences)
        assert below == pytest.approx(point.share * len(units), abs=0.5)
