"""PHEE: spans of triggers and nested arguments, pieces, bad lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convert_corpus import read_phee
from spanlake.core.labels import load_labels
from spanlake.core.types import Span
from spanlake.corpora import GoldNote, ReadReport
from spanlake.errors import DataError

TEXT = "Two men got a mild rash from zincol taken by mouth."


def part(*texts: str, **nested: object) -> dict[str, object]:
    """One argument of one place, which may be in pieces."""
    return {"text": [list(texts)], "start": [[TEXT.index(text) for text in texts]], **nested}


def event(kind: str = "Adverse_event", **arguments: object) -> dict[str, object]:
    return {"event_id": "E1", "event_type": kind, "Trigger": part("got"), **arguments}


def line(*events: object, note_id: str = "7_1") -> str:
    return json.dumps({"id": note_id, "context": TEXT, "annotations": [{"events": events}]})


def read(
    tmp_path: Path, *lines: str, labels: str | None = None
) -> tuple[list[GoldNote], ReadReport]:
    path = tmp_path / "part.json"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_phee(path, labels and load_labels(labels))


def found(gold: GoldNote) -> list[tuple[str, str]]:
    return [(e.text, e.label) for e in gold.annotation.entities]


def test_triggers_are_their_events_and_arguments_their_roles(tmp_path: Path) -> None:
    treatment = part("zincol taken by mouth", Drug=part("zincol"), Route=part("by mouth"))
    subject = part("Two men", Population=part("Two"))
    severity = part("mild", value="Low")
    one = event(Effect=part("rash"), Severity=severity, Treatment=treatment, Subject=subject)
    [gold], report = read(tmp_path, line(one), labels="phee")
    assert gold.note.note_id == "7_1"
    assert found(gold) == [
        ("got", "Adverse_event"),
        ("rash", "Effect"),
        ("mild", "Severity"),
        ("zincol", "Drug"),
        ("by mouth", "Route"),
        ("Two", "Population"),
    ]
    assert report.counts == {"unknown_label": 2}, "Treatment and Subject"


def test_what_two_events_share_is_read_once(tmp_path: Path) -> None:
    inner = event("Combination", Drug=part("zincol"))
    other = event("Potential_therapeutic_event", Treatment=part("zincol", Drug=part("zincol")))
    first = event(Treatment=part("zincol", Drug=part("zincol"), Combination=[inner]))
    [gold], report = read(tmp_path, line(first, other), labels="phee")
    assert found(gold) == [
        ("got", "Adverse_event"),
        ("zincol", "Drug"),
        ("got", "Potential_therapeutic_event"),
    ]
    assert report.counts["unknown_label"] == 2, "Treatment and Combination"


def test_pieces_become_their_covering_span(tmp_path: Path) -> None:
    [gold], report = read(tmp_path, line(event(Effect=part("mild", "from"))))
    [_, effect] = gold.annotation.entities
    assert effect.text == "mild rash from"
    assert effect.pieces == (Span(14, 18), Span(24, 28))
    assert report.counts["discontinuous"] == 1


@pytest.mark.parametrize(
    "bad",
    ["{", "[]", '{"id": "8"}', '{"id": "8", "context": 1, "annotations": []}',
     line(event(Effect={"text": [["a"]], "start": []}), note_id="8"),
     line({"Trigger": part("got")}, note_id="8"), line()],
)  # fmt: skip
def test_a_line_that_is_none_costs_no_other(bad: str, tmp_path: Path) -> None:
    notes, report = read(tmp_path, line(event()), bad, line(event(), note_id="9"))
    assert [gold.note.note_id for gold in notes] == ["7_1", "9"]
    assert report.problems == ["part.json:2: bad_line"]


def test_a_place_that_is_not_there_is_reported_without_its_text(tmp_path: Path) -> None:
    beyond = {"text": [["rash"]], "start": [[400]]}
    [gold], report = read(tmp_path, line(event(Effect=beyond)))
    assert found(gold) == [("got", "Adverse_event")]
    assert report.problems == ["part.json:1: offsets_outside"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a folder, where a file is needed"):
        read_phee(tmp_path)


def test_phee_is_read_whole(corpora: Path) -> None:
    notes, report = read_phee(corpora / "phee" / "train.json", load_labels("phee"))
    labels = [entity.label for gold in notes for entity in gold.annotation.entities]
    assert (len(notes), len(labels), labels.count("Dosage")) == (2898, 13235, 260)
    assert report.counts.keys() == {"unknown_label", "discontinuous", "overlapping"}


def test_half_a_character_is_a_bad_line(tmp_path: Path) -> None:
    bad = json.dumps({"id": "8", "context": "\ud800", "annotations": []})
    notes, report = read(tmp_path, bad, line())
    assert [gold.note.note_id for gold in notes] == ["7_1"]
    assert report.problems == ["part.json:1: bad_line"]
