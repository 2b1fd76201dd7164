"""Scores of a finished extractor on gold notes, read and merged as every note is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanlake.core.corpora import GoldNote
from spanlake.core.counts import Counts
from spanlake.core.scoring import score_linked, score_notes
from spanlake.models import Extractor
from spanlake.models.annotate import annotate, link


def strict_scores(notes: Sequence[GoldNote], extractor: Extractor) -> dict[str, Any]:
    """Return strict scores by layer, and of relations between gold and between found entities."""
    results = annotate([gold.note for gold in notes], extractor, extractor.fingerprint)
    pairs = [(g.annotation, r.annotation) for g, r in zip(notes, results, strict=True)]
    linked = [(g.annotation, link(g.note, g.annotation, extractor)) for g in notes]
    scores = score_notes(pairs, extractor.labels)
    return {
        "notes": scores.notes,
        "main": _numbers(scores.entities.micro.strict),
        "modifier": _numbers(scores.modifiers.micro.strict),
        "relations": _numbers(scores.relations_strict),
        "relations_gold_entities": _numbers(score_linked(linked)),
    }


def _numbers(counts: Counts) -> dict[str, Any]:
    ratios = {name: getattr(counts, name) for name in ("precision", "recall", "f1")}
    rounded = {name: value and round(value, 4) for name, value in ratios.items()}
    return {**rounded, "tp": counts.tp, "fp": counts.fp, "fn": counts.fn}
