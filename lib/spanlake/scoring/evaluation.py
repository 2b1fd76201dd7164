"""Score gold notes: predictions from a folder, or from an extractor that reads the notes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation
from spanlake.corpora import (
    GoldNote,
    ReadReport,
    files_by_name,
    read_ann,
    read_annotated,
    require_folder,
)
from spanlake.errors import DataError
from spanlake.models import Extractor
from spanlake.scoring.counts import Counts, Scores
from spanlake.scoring.metrics import score_note
from spanlake.scoring.score_extractor import ScoredNote, pooled, scored_notes

if TYPE_CHECKING:
    from spanlake.scoring.cascade_curve import CurvePoint

log = logging.getLogger(__name__)

UNREAD = ("unknown_label", "offsets_outside", "bad_line")  # predicted entities that no score sees
REFUSED = ("unknown_relation", "relation_not_allowed", "lost_relation", "dangling_relation")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scored notes under a label set, and what the readers had to leave out.

    `model` is the fingerprint of the extractor that read them, None for a folder of predictions.
    `unread` counts such a folder's entities that could not be read, by reason: precision is without
    them. A label that the set lacks is of no layer, and what lies outside a note has no words.
    `gold_problems` counts what of the gold was left out or doubted. `curve` is that of a cascade.
    """

    labels: LabelSet
    notes: Sequence[ScoredNote]
    report: ReadReport
    model: str | None = None
    unread: Mapping[str, int] = field(default_factory=dict)
    gold_problems: Mapping[str, int] = field(default_factory=dict)
    curve: Sequence[CurvePoint] = ()

    @property
    def scores(self) -> Scores:
        """The notes' scores, pooled."""
        return pooled((note.scores for note in self.notes), self.labels)

    @property
    def without_rules(self) -> Scores | None:
        """The scores of the model's own entities and relations; None where rules added nothing."""
        if not any(_has_rules(note.predicted) for note in self.notes):
            return None
        alone = [
            score_note(note.gold.annotation, note.predicted.without_rules(), self.labels)
            for note in self.notes
        ]
        return replace(pooled(alone, self.labels), gold_entities=self.scores.gold_entities)

    @property
    def by_note(self) -> Mapping[str, Scores]:
        """Each note's scores by its id."""
        return {note.note_id: note.scores for note in self.notes}

    @property
    def notes_in_training_data(self) -> list[str] | None:
        """The ids of notes that the model was trained on; None where that is not known."""
        if any(note.in_training_data is None for note in self.notes):
            return None
        return [note.note_id for note in self.notes if note.in_training_data]


def _has_rules(annotation: Annotation) -> bool:
    return any(entity.by_rule for entity in annotation.entities) or any(
        relation.by_rule for relation in annotation.relations
    )


def evaluate_folder(
    gold_notes: Path, predicted_folder: Path, labels: LabelSet, encoding: str = "utf-8"
) -> Evaluation:
    """Score `PREDICTED/NAME.ann` for every gold note NAME, of a brat folder or of JSON lines.

    `encoding` is that of a brat folder's texts. Raises DataError when a folder is missing, and with
    the ids when prediction files are.
    """
    require_folder(predicted_folder, "predictions (.ann)")
    gold, report = read_gold_notes(gold_notes, labels, encoding)
    gold_problems = report.reasons
    names = [note.note.note_id for note in gold]
    prediction_files = files_by_name(predicted_folder, ".ann")
    missing = [name for name in names if name not in prediction_files]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} notes have no prediction file in {predicted_folder}:"
            f" {', '.join(missing[:10])}"
        )
    strangers = len(prediction_files.keys() - set(names))
    if strangers:
        log.warning("%d .ann files are of no gold note: not scored", strangers)
    notes: list[ScoredNote] = []
    unread: Counter[str] = Counter()
    for gold_note in gold:
        predicted, problems = read_ann(
            prediction_files[gold_note.note.note_id], gold_note.note, labels
        )
        report.add(problems.named(f"prediction, {predicted_folder}/"))
        unread.update({reason: n for reason, n in problems.counts.items() if reason in UNREAD})
        scores = score_note(gold_note.annotation, predicted.annotation, labels)
        notes.append(ScoredNote(gold_note, predicted.annotation, _with_refused(scores, problems)))
    return Evaluation(labels, notes, report, unread=unread, gold_problems=gold_problems)


def read_gold_notes(
    gold_notes: Path, labels: LabelSet, encoding: str = "utf-8"
) -> tuple[list[GoldNote], ReadReport]:
    """Read notes to score on; the report's problems say that they are the gold's."""
    gold, report = read_annotated(gold_notes, labels, encoding)
    return gold, report.named("gold, ")


def _with_refused(scores: Scores, problems: ReadReport) -> Scores:
    """Count predicted relations that the reader refused as wrong, which they are."""
    wrong = Counts(fp=sum(problems.counts[reason] for reason in REFUSED))
    return replace(
        scores,
        relations_strict=scores.relations_strict + wrong,
        relations_relaxed=scores.relations_relaxed + wrong,
    )


def evaluate_extractor(
    gold_notes: Path, extractor: Extractor, encoding: str = "utf-8"
) -> Evaluation:
    """Score an extractor on a brat folder or JSON lines, relations on gold entities included."""
    gold, report = read_gold_notes(gold_notes, extractor.labels, encoding)
    notes = scored_notes(gold, extractor)
    return Evaluation(
        extractor.labels,
        notes,
        report,
        extractor.fingerprint,
        gold_problems=report.reasons,
        curve=_curve(gold, extractor),
    )


def _curve(gold: Sequence[GoldNote], extractor: Extractor) -> Sequence[CurvePoint]:
    from spanlake.models.cascade import Cascade  # numpy, as the next one
    from spanlake.scoring.cascade_curve import cascade_curve

    return cascade_curve(gold, extractor) if isinstance(extractor, Cascade) else ()
