"""Scores of a finished extractor on gold notes, read and merged as every note is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanlake.corpora import GoldNote
from spanlake.models import Extractor
from spanlake.scoring.counts import Counts
from spanlake.scoring.score_extractor import pooled, score_extractor


def strict_scores(notes: Sequence[GoldNote], extractor: Extractor) -> dict[str, Any]:
    """Return strict scores by layer, and of relations between gold and between found entities."""
    scores = pooled(score_extractor(notes, extractor), extractor.labels)
    linked = scores.gold_entities
    return {
        "notes": scores.notes,
        "main": _numbers(scores.entities.micro.strict),
        "modifier": _numbers(scores.modifiers.micro.strict),
        "relations": _numbers(scores.relations_strict),
        "relations_gold_entities": _numbers(linked) if linked else None,
    }


def _numbers(counts: Counts) -> dict[str, Any]:
    ratios = {name: getattr(counts, name) for name in ("precision", "recall", "f1")}
    rounded = {name: value and round(value, 4) for name, value in ratios.items()}
    return {**rounded, "tp": counts.tp, "fp": counts.fp, "fn": counts.fn}
