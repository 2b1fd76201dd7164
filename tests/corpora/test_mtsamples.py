from __future__ import annotations

import json
from pathlib import Path

import pytest

from spanlake.corpora import read_mtsamples
from spanlake.corpora.mtsamples import restore_lines
from spanlake.errors import DataError

ROW = {
    "note_id": 7,
    "medical_specialty": ["Surgery", "Urology"],
    "sample_name": "Cystoscopy",
    "description": "Bladder  stones.",
    "text": "FINDINGS: , Two stones.,PLAN:,1.  Remove them.,2.  Home.",
}


def test_a_note_gets_its_lines_and_what_stood_above_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    [note] = read_mtsamples(path)
    assert note.note_id == "7"
    assert note.note_text.split("\n") == [
        "Sample Type / Medical Specialty: Surgery / Urology",
        "Sample Name: Cystoscopy",
        "Description: Bladder stones.",
        "(Medical Transcription Sample Report)",
        "FINDINGS: Two stones.",
        "PLAN:",
        "1. Remove them.",
        "2. Home.",
    ]


@pytest.mark.parametrize("text", ["platelets 250,000", "pain, fever, and chills", "a (b), c"])
def test_commas_of_the_text_stay(text: str) -> None:
    assert restore_lines(text) == text


def test_a_line_that_is_no_note_is_named_and_its_text_is_not(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({"text": "secret"}) + "\n")
    with pytest.raises(DataError, match=r"line 2: no note \(KeyError\)") as caught:
        read_mtsamples(path)
    assert "secret" not in str(caught.value)


def test_half_a_character_is_no_note(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps({**ROW, "text": "fever \ud800"}) + "\n")
    with pytest.raises(DataError, match=r"line 1: no note \(UnicodeEncodeError\)"):
        read_mtsamples(path)
