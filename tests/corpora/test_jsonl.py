"""JSON lines: the round trip, and what is said about lines that break the shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, Entity, Note, Relation, Span
from spanlake.corpora import (
    GoldNote,
    ReadReport,
    read_brat,
    read_jsonl,
    to_json,
    write_jsonl,
)
from spanlake.errors import DataError

TEXT = "No chest pain."
PAIN = {"start": 3, "end": 13, "label": "problem"}
NO = {"start": 0, "end": 2, "label": "negation", "text": "No"}
LINK = {"head": 0, "tail": 1, "label": "hasAttr"}


def read(
    tmp_path: Path, *lines: Any, labels: str | None = None
) -> tuple[list[GoldNote], ReadReport]:
    path = tmp_path / "a.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return read_jsonl(path, labels and load_labels(labels))


def line(*entities: Any, relations: Any = (), **columns: Any) -> dict[str, Any]:
    head = {"note_id": "n", "note_text": TEXT, **columns}
    return {**head, "entities": list(entities), "relations": list(relations)}


def test_a_line_is_a_note_with_its_entities_relations_and_columns(tmp_path: Path) -> None:
    link = {**LINK, "score": 0.5}
    notes, report = read(tmp_path, line(PAIN, NO, relations=[link], patient_id="p"), labels="kiwi")
    assert notes[0].note == Note("n", TEXT, patient_id="p")
    assert [e.text for e in notes[0].annotation.entities] == ["chest pain", "No"]
    assert notes[0].annotation.relations == (Relation(0, 1, "hasAttr", 0.5),)
    assert not report.counts


def test_blank_lines_and_crlf_are_harmless_and_relations_may_be_absent(tmp_path: Path) -> None:
    plain = json.dumps({"note_id": "m", "note_text": "", "entities": []})
    notes, report = read(tmp_path, plain + "\r", "", line(), "")
    assert [gold.note.note_id for gold in notes] == ["m", "n"]
    assert not report.problems


@pytest.mark.parametrize(
    "bad",
    [
        "{not json",
        "[]",
        {"note_id": "x", "note_text": "no entities"},
        {"note_id": 7, "note_text": "", "entities": []},
        {"note_id": "", "note_text": "", "entities": []},
        {"note_id": "x", "note_text": None, "entities": []},
        {"note_id": "n", "note_text": "the same id", "entities": []},
    ],
)
def test_a_line_that_is_no_note_is_reported_and_costs_no_other(tmp_path: Path, bad: Any) -> None:
    notes, report = read(tmp_path, line(NO), bad, line(PAIN, note_id="z"))
    assert [gold.note.note_id for gold in notes] == ["n", "z"]
    assert report.problems == ["a.jsonl:2: bad_line"]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("problem", "bad_line"),
        ({"start": 3, "label": "problem"}, "bad_line"),
        ({**PAIN, "start": "3"}, "bad_line"),
        ({**PAIN, "start": True}, "bad_line"),
        ({**PAIN, "start": 3.0}, "bad_line"),
        ({**PAIN, "start": -1}, "bad_line"),
        ({**PAIN, "end": 3}, "bad_line"),
        ({**PAIN, "label": ""}, "bad_line"),
        ({**PAIN, "score": 1.5}, "bad_line"),
        ({**PAIN, "pieces": [[3, 8]]}, "bad_line"),
        ({**PAIN, "pieces": [[3, 8], [13, 9]]}, "bad_line"),
        ({**PAIN, "end": 15}, "offsets_outside"),
        ({**PAIN, "text": "chest pains"}, "text_mismatch"),
        ({**PAIN, "label": "weather"}, "unknown_label"),
    ],
)
def test_a_bad_entity_is_reported_and_costs_only_its_relations(
    tmp_path: Path, item: Any, reason: str
) -> None:
    relations = [LINK, {**LINK, "head": 2}]
    notes, report = read(tmp_path, line(item, NO, PAIN, relations=relations), labels="kiwi")
    kept = reason == "text_mismatch"
    assert len(notes[0].annotation.entities) == 2 + kept
    assert len(notes[0].annotation.relations) == 1 + kept
    assert report.problems[0] == f"a.jsonl:1: {reason}"
    lost = "lost_relation" if reason == "unknown_label" else "dangling_relation"
    assert report.problems[1:] == ([] if kept else [f"a.jsonl:1: {lost}"])


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"head": 0, "tail": 1}, "bad_line"),
        ({**LINK, "tail": "1"}, "bad_line"),
        ({**LINK, "tail": 2}, "dangling_relation"),
        ({**LINK, "tail": -1}, "dangling_relation"),
        ({**LINK, "tail": 0}, "relation_not_allowed"),
        ({**LINK, "label": "causes"}, "unknown_relation"),
    ],
)
def test_a_bad_relation_is_reported_and_costs_nothing_else(
    tmp_path: Path, item: Any, reason: str
) -> None:
    notes, report = read(tmp_path, line(PAIN, NO, relations=[item, LINK]), labels="kiwi")
    assert notes[0].annotation.relations == (Relation(0, 1, "hasAttr"),)
    assert report.problems == [f"a.jsonl:1: {reason}"]


def test_no_report_and_no_error_holds_note_text(tmp_path: Path) -> None:
    _, report = read(tmp_path, "Secret", {"note_id": "Secret"}, line({"label": "Secret"}))
    assert len(report.problems) == 3 and "Secret" not in repr(report)
    (tmp_path / "b.jsonl").write_bytes(b"Secret\xff")
    with pytest.raises(DataError, match=r"b\.jsonl: not UTF-8 at byte 6"):
        read_jsonl(tmp_path / "b.jsonl")


def test_a_note_with_half_a_character_is_named_and_costs_no_other(tmp_path: Path) -> None:
    bad = [line(note_id="x", note_text="fever \ud800"), line({**PAIN, "label": "\udfff"})]
    notes, report = read(tmp_path, line(NO, note_id="a"), *bad, line(PAIN, note_id="z"))
    assert [gold.note.note_id for gold in notes] == ["a", "z"]
    assert report.problems == [
        "a.jsonl:2 (note 'x'): lone_surrogate",
        "a.jsonl:3 (note 'n'): lone_surrogate",
    ]
    assert report.reasons == {"lone_surrogate": 2}
    with pytest.raises(DataError, match=r"note '\\ud800': a lone surrogate"):
        write_jsonl(tmp_path / "b.jsonl", [GoldNote(Note("\ud800", TEXT), Annotation())])


def test_what_a_rule_has_added_is_marked(tmp_path: Path) -> None:
    rule = {"source": "rule"}
    items = [PAIN, {**NO, **rule}, {**PAIN, "label": "test", "source": "model"}]
    notes, report = read(tmp_path, line(*items, relations=[{**LINK, **rule}]), labels="kiwi")
    found = notes[0].annotation
    assert [entity.by_rule for entity in found.entities] == [False, True, False]
    assert found.relations == (Relation(0, 1, "hasAttr", by_rule=True),)
    assert not report.problems
    assert to_json(notes[0]).count('"source": "rule"') == 2


def test_pieces_that_a_line_break_alone_parts_are_one(tmp_path: Path) -> None:
    pieces = {"start": 0, "end": 10, "label": "problem", "pieces": [[0, 5], [6, 10]]}
    notes, report = read(tmp_path, line(pieces, note_text="chest\npain"))
    assert notes[0].annotation.entities == (Entity(Span(0, 10), "problem", "chest\npain"),)
    assert not report.counts


def test_a_line_is_readable_whatever_the_alphabet() -> None:
    gold = GoldNote(Note("n", "Übelkeit\n"), Annotation())
    line = '{"note_id": "n", "note_text": "Übelkeit\\n", "entities": [], "relations": []}'
    assert to_json(gold) == line


WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
SCORES = st.none() | st.floats(0, 1)


@st.composite
def gold_notes(draw: st.DrawFn) -> GoldNote:
    text = draw(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30))
    names = WORDS.filter(bool)
    entities = []
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text) - 1))
        span = Span(start, draw(st.integers(start + 1, len(text))))
        pieces = (Span(start, start + 1), span) if draw(st.booleans()) else ()
        attributes = tuple(draw(st.lists(st.tuples(WORDS, WORDS), max_size=2)))
        said = text[span.start : span.end]
        rest = (draw(SCORES), pieces, attributes, draw(st.booleans()))
        entities.append(Entity(span, draw(names), said, *rest))
    ends = st.integers(0, max(len(entities) - 1, 0))
    built = st.builds(Relation, ends, ends, names, SCORES, st.booleans())
    some = st.lists(built, max_size=3, unique_by=lambda r: (r.head, r.tail, r.label))
    relations = draw(some) if entities else []
    columns = [draw(st.none() | WORDS) for _ in range(4)]
    note = Note(draw(names), text, *columns)
    return GoldNote(note, Annotation(tuple(entities), tuple(relations)))


@given(gold=gold_notes())
def test_what_is_written_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, gold: GoldNote
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    write_jsonl(path, [gold])
    back, report = read_jsonl(path)
    assert back == [gold]
    assert not report.problems
    assert path.read_bytes().decode("utf-8") == to_json(gold) + "\n"


def test_a_brat_corpus_survives_json_lines(corpora: Path, tmp_path: Path) -> None:
    notes, _ = read_brat(corpora / "mtsamples_kiwi" / "dev", load_labels("kiwi"))
    write_jsonl(tmp_path / "dev.jsonl", notes)
    back, report = read_jsonl(tmp_path / "dev.jsonl", load_labels("kiwi"))
    assert back == notes
    assert not report.counts
