from __future__ import annotations

import json
from dataclasses import replace

from gold_notes import NOTES
from spanlake.cli import main
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, entity_at
from spanlake.scoring.error_table import error_rows
from spanlake.scoring.metrics import score_note
from spanlake.scoring.score_extractor import ScoredNote

KIWI = load_labels("kiwi")


def test_a_row_holds_places_labels_score_section_and_words():
    gold = NOTES[0]
    text = gold.note.note_text
    *kept, drug, strength, frequency = gold.annotation.entities
    found = replace(entity_at(text, drug.start, strength.end, "drug"), score=0.75)
    predicted = Annotation((*kept, found, frequency))
    scores = score_note(gold.annotation, predicted, KIWI)
    rows = list(error_rows([ScoredNote(gold, predicted, scores)], KIWI))
    assert rows[0] == {
        "note_id": "a",
        "layer": "main",
        "kind": "boundary",
        "gold_start": 27,
        "gold_end": 36,
        "gold_label": "drug",
        "predicted_start": 27,
        "predicted_end": 43,
        "predicted_label": "drug",
        "score": 0.75,
        "words": 1,
        "section": "(none)",
    }
    assert [(row["kind"], row["words"], row["predicted_end"]) for row in rows[1:]] == [
        ("lost", 2, None)
    ]


def _with_a_mistake(folder, tmp_path):
    """Copy a note's predictions but for its first line, and return the folder."""
    out = tmp_path / "predicted"
    out.mkdir()
    for path in folder.glob("*.ann"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (out / path.name).write_text("".join(lines[1:]), encoding="utf-8")
    return out


def test_the_command_writes_rows_that_can_be_joined_and_hold_no_text(few_samples, tmp_path):
    predicted, out = _with_a_mistake(few_samples, tmp_path), tmp_path / "new" / "errors.jsonl"
    call = ["evaluate", "--gold", str(few_samples), "--predicted", str(predicted)]
    assert main([*call, "--errors", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == sum(path.stat().st_size > 0 for path in few_samples.glob("*.ann")) == 3
    for row in rows:
        text = (few_samples / f"{row['note_id']}.txt").read_bytes().decode()
        first = (few_samples / f"{row['note_id']}.ann").read_text(encoding="utf-8").splitlines()[0]
        assert first.split("\t")[1:] == [
            f"{row['gold_label']} {row['gold_start']} {row['gold_end']}",
            text[row["gold_start"] : row["gold_end"]],
        ]
        strings = {value for key, value in row.items() if isinstance(value, str)}
        assert strings - {row["note_id"], row["layer"], row["section"]} <= {"lost", *KIWI.labels}
