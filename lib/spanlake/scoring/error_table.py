"""The error table: a row a difference between gold and prediction, to be joined to the notes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from spanlake.core.bio import WORD
from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity
from spanlake.scoring.mistakes import Mistake, mistakes
from spanlake.scoring.score_extractor import ScoredNote
from spanlake.text.sections import safe_name
from spanlake.text.sentences import section_at, split

Row = Mapping[str, object]


def error_rows(notes: Iterable[ScoredNote], labels: LabelSet) -> Iterator[Row]:
    """Yield a row a mistake, by note: ids, note-absolute offsets and labels, no note text.

    `section` and `words` (its number of words) are those of the gold entity, of the prediction
    where there is none. Sections whose names are not made of section words are "(other)".
    """
    for note in notes:
        sentences = split(note.gold.note.note_text)
        for mistake in mistakes(note.gold.annotation, note.predicted, labels):
            section = safe_name(section_at(sentences, mistake.entity.start))
            yield {"note_id": note.note_id, **_columns(mistake), "section": section}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _columns(mistake: Mistake) -> dict[str, object]:
    return {
        "layer": mistake.layer,
        "kind": mistake.kind,
        **_place("gold", mistake.gold),
        **_place("predicted", mistake.predicted),
        "score": mistake.predicted.score if mistake.predicted else None,
        "words": len(WORD.findall(mistake.entity.text)),
    }


def _place(side: str, entity: Entity | None) -> dict[str, object]:
    start, end, label = entity.key if entity else (None, None, None)
    return {f"{side}_start": start, f"{side}_end": end, f"{side}_label": label}
