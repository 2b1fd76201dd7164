"""Seventy invented notes as record systems print them: what the rules make of their findings.

`templated_notes.jsonl` holds a note a line with its findings (offsets, label) and what they are:
`negated`, `uncertain`, `subject` (another person); without these keys they are the patient's and
affirmed, which a bit under half of them are. The rules were written with half of the notes in
sight (`open_`); those named `held_` were scored first, and looked at afterwards.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from spanlake.core.assertion_rules import add_assertions
from spanlake.core.assertions import PATIENT, assertions
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, entity_at
from spanlake.text.sentences import split

KIWI = load_labels("kiwi")
NOTES = Path(__file__).with_name("templated_notes.jsonl")
COLUMNS = ("negated", "uncertain", "subject")


def _counts() -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {column: Counter() for column in COLUMNS}
    for line in NOTES.read_text(encoding="utf-8").splitlines():
        note = json.loads(line)
        text, findings = note["note_text"], note["findings"]
        given = Annotation(
            tuple(entity_at(text, one["start"], one["end"], one["label"]) for one in findings)
        )
        found, _ = add_assertions(text, split(text), given, [0] * len(findings), KIWI)
        for said, one in zip(assertions(found, KIWI), findings, strict=False):
            held = said.negated, said.uncertain, said.subject not in (PATIENT, None)
            for column, is_ in zip(COLUMNS, held, strict=True):
                wanted = bool(one.get(column))
                counts[column]["tp" if is_ and wanted else "fp" if is_ else "fn" * wanted] += 1
    return counts


def test_the_forms_of_record_systems_are_read() -> None:
    for column, counts in _counts().items():
        precision = counts["tp"] / (counts["tp"] + counts["fp"])
        recall = counts["tp"] / (counts["tp"] + counts["fn"])
        assert precision >= 0.98 and recall >= 0.95, (column, dict(counts))


def test_half_of_the_findings_have_nothing_to_be_found() -> None:
    notes = [json.loads(line) for line in NOTES.read_text(encoding="utf-8").splitlines()]
    findings = [one for note in notes for one in note["findings"]]
    affirmed = sum(not any(one.get(column) for column in COLUMNS) for one in findings)
    assert len(notes) == 70 and 0.4 < affirmed / len(findings) < 0.5
