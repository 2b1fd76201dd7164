"""Score an extractor on annotated notes, read and merged as every note is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation
from spanlake.corpora import GoldNote
from spanlake.errors import DataError
from spanlake.models import Extractor
from spanlake.predict import NoteResult, annotate, score_relations
from spanlake.scoring.counts import Scores
from spanlake.scoring.metrics import no_scores, score_linked, score_note

log = logging.getLogger(__name__)

NOTES_AT_ONCE = 8  # enough units to sort into batches, few enough for progress to be seen


@dataclass(frozen=True, slots=True)
class ScoredNote:
    """A gold note, what was predicted of it, and the scores of the one against the other.

    `confidences` are the model's confidence in its answer to each sentence. `in_training_data`
    tells whether the model was trained on the note, whose scores then say nothing of other notes;
    None where that is not known.
    """

    gold: GoldNote
    predicted: Annotation
    scores: Scores
    confidences: tuple[float | None, ...] = ()
    in_training_data: bool | None = None

    @property
    def note_id(self) -> str:
        return self.gold.note.note_id


def scored_notes(gold: Sequence[GoldNote], extractor: Extractor) -> list[ScoredNote]:
    """Read and score every note, in order, relations on gold entities included.

    Raises DataError with the ids of notes that could not be read.
    """
    scored: list[ScoredNote] = []
    unread: list[str] = []
    for first in range(0, len(gold), NOTES_AT_ONCE):
        some = gold[first : first + NOTES_AT_ONCE]
        for gold_note, result in zip(
            some, annotate([n.note for n in some], extractor, ""), strict=True
        ):
            if result.state in ("done", "empty"):
                scored.append(_scored(gold_note, result, extractor))
            else:
                unread.append(gold_note.note.note_id)
        log.info("%d of %d notes scored", len(scored), len(gold))
    if unread:
        raise DataError(f"{len(unread)} notes could not be read: {', '.join(unread[:10])}")
    return scored


def _scored(gold_note: GoldNote, result: NoteResult, extractor: Extractor) -> ScoredNote:
    return ScoredNote(
        gold_note,
        result.annotation,
        _score(gold_note, result.annotation, extractor),
        result.confidences,
        in_training_data=None
        if extractor.training_text_hashes is None
        else gold_note.note.text_sha256 in extractor.training_text_hashes,
    )


def score_extractor(gold: Sequence[GoldNote], extractor: Extractor) -> list[Scores]:
    """Return the scores of `scored_notes` alone."""
    return [note.scores for note in scored_notes(gold, extractor)]


def scores_by_note(gold: Sequence[GoldNote], extractor: Extractor) -> dict[str, Scores]:
    """Return `score_extractor`'s scores by note id."""
    return {note.note_id: note.scores for note in scored_notes(gold, extractor)}


def _score(gold_note: GoldNote, predicted: Annotation, extractor: Extractor) -> Scores:
    scores = score_note(gold_note.annotation, predicted, extractor.labels)
    linked = score_relations(gold_note.note, gold_note.annotation, extractor)
    return replace(scores, gold_entities=score_linked([(gold_note.annotation, linked)]))


def pooled(scores: Iterable[Scores], labels: LabelSet) -> Scores:
    """Return the sum of the notes' counts."""
    return sum(scores, no_scores(labels))
