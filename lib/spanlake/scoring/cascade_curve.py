"""F1 of a cascade against the share of texts that its second model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from spanlake.core.assemble import merge
from spanlake.core.types import units_of
from spanlake.corpora import GoldNote
from spanlake.models.cascade import Cascade
from spanlake.models.safe_extract import extract_safely
from spanlake.scoring.metrics import score_note
from spanlake.scoring.score_extractor import pooled
from spanlake.text.sentences import split

SHARES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Strict F1 where the least confident `share` of the sentences goes to the second model.

    `threshold` is what `confidence_threshold` has to be for it on these notes.
    """

    share: float
    threshold: float
    main: float | None
    modifier: float | None
    relations: float | None


def cascade_curve(gold: Sequence[GoldNote], cascade: Cascade) -> list[CurvePoint]:
    """Read the notes with both models, and score what a cascade at each of `SHARES` would give."""
    notes = [gold_note.note for gold_note in gold]
    sentences = [split(note.note_text) for note in notes]
    units = [
        unit
        for note, note_sentences in zip(notes, sentences, strict=True)
        for unit in units_of(note.note_text, note_sentences, cascade.context)
    ]
    first = extract_safely(cascade.first, units)
    second = extract_safely(cascade.second, units)
    confidences = np.array([answer.confidence or 0.0 for answer in first])
    order = np.argsort(confidences, kind="stable")
    points = []
    for share in SHARES:
        count = round(share * len(units))
        chosen = set(order[:count].tolist())
        answers = iter([second[i] if i in chosen else first[i] for i in range(len(units))])
        scores = pooled(
            (
                score_note(
                    gold_note.annotation,
                    merge(
                        gold_note.note,
                        note_sentences,
                        list(islice(answers, len(note_sentences))),
                        cascade.labels,
                        "",
                    ).annotation,
                    cascade.labels,
                )
                for gold_note, note_sentences in zip(gold, sentences, strict=True)
            ),
            cascade.labels,
        )
        threshold = float(confidences[order[count]]) if count < len(units) else 1.0
        points.append(
            CurvePoint(
                share,
                threshold,
                scores.entities.micro.strict.f1,
                scores.modifiers.micro.strict.f1,
                scores.relations_strict.f1,
            )
        )
    return points


def curve_lines(points: Sequence[CurvePoint]) -> str:
    """Return a table of the curve."""

    def percent(value: float | None) -> str:
        return f"{100 * value:9.1f}" if value is not None else "        -"

    head = "to the second model  threshold     main  modifier  relations (strict F1)"
    rows = [
        f"{100 * p.share:17.0f} %  {p.threshold:9.4f}{percent(p.main)} {percent(p.modifier)}"
        f"  {percent(p.relations)}"
        for p in points
    ]
    return "\n".join([head, *rows]) + "\n"
