"""brat: what the writer gives, and the round trip through it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.corpora import (
    GoldNote,
    ReadReport,
    parse_ann,
    read_brat,
    write_ann,
    write_brat,
)
from spanlake.core.errors import DataError
from spanlake.core.spans import Annotation, Entity, Relation, Span, entity_at
from spanlake.core.units import Note

TEXT = "Denies chest pain.\r\nMild cough 🩺 since May."


def test_the_writer_gives_nothing_for_nothing_and_one_line_an_entity() -> None:
    assert write_ann(Annotation()) == ""
    text = "a\r\nb\tc\fd\u2028e"
    entity = entity_at(text, 0, len(text), "problem")
    assert write_ann(Annotation((entity,))) == "T1\tproblem 0 10\ta  b c d e\n"


def test_the_writer_names_entities_and_attributes_by_number() -> None:
    head = Entity(Span(7, 17), "problem", "chest pain", attributes=(("Sure", ""), ("Kind", "x y")))
    tail = entity_at(TEXT, 0, 6, "negation")
    assert write_ann(Annotation((tail, head), (Relation(1, 0, "hasAttr"),))) == (
        "T1\tnegation 0 6\tDenies\nT2\tproblem 7 17\tchest pain\n"
        "R1\thasAttr Arg1:T2 Arg2:T1\nA1\tSure T2\nA2\tKind T2 x y\n"
    )


@pytest.mark.parametrize("label", ["", "two words", "a\tb", "a\n"])
def test_the_writer_refuses_what_the_format_cannot_hold(label: str) -> None:
    with pytest.raises(DataError):
        write_ann(Annotation((entity_at(TEXT, 0, 6, label),)))
    named = Entity(Span(0, 6), "problem", "Denies", attributes=(("name", f" {label}"),))
    with pytest.raises(DataError):
        write_ann(Annotation((named,)))


@pytest.mark.parametrize("note_id", ["", "../a", "a/b"])
def test_a_note_id_that_is_a_path_is_not_written(tmp_path: Path, note_id: str) -> None:
    with pytest.raises(DataError, match="file name"):
        write_brat(tmp_path / "out", [GoldNote(Note(note_id, "x"), Annotation())])


NAMES = st.text(alphabet="ab-:;1É", min_size=1, max_size=4)
TEXTS = st.text(alphabet="ab .\r\n\t\f\x0b\x85\u2028\u00a0e\u0301İ🩺;0T", min_size=1, max_size=30)


@st.composite
def gold_notes(draw: st.DrawFn) -> GoldNote:
    text = draw(TEXTS)

    def span() -> Span:
        start = draw(st.integers(0, len(text) - 1))
        return Span(start, draw(st.integers(start + 1, len(text))))

    entities = []
    for _ in range(draw(st.integers(0, 4))):
        pieces = tuple(span() for _ in range(draw(st.sampled_from((1, 1, 2, 3)))))
        start, end = min(p.start for p in pieces), max(p.end for p in pieces)
        values = st.one_of(st.just(""), NAMES, st.just("two words"))
        attributes = tuple(draw(st.lists(st.tuples(NAMES, values), max_size=2)))
        label, kept = draw(NAMES), pieces if len(pieces) > 1 else ()
        entity = Entity(Span(start, end), label, text[start:end], None, kept, attributes)
        entities.append(entity)
    ends = st.integers(0, max(len(entities) - 1, 0))
    found = st.lists(st.builds(Relation, ends, ends, NAMES), max_size=4, unique=True)
    relations = draw(found) if entities else []
    return GoldNote(Note("n", text), Annotation(tuple(entities), tuple(relations)))


@given(gold_notes())
def test_what_is_written_is_read_back_the_same(gold: GoldNote) -> None:
    report = ReadReport()
    ann = write_ann(gold.annotation)
    back = parse_ann(ann, gold.note.note_text, name="a.ann", report=report)
    assert back == gold.annotation
    assert not report.problems
    assert write_ann(back) == ann
    assert all(len(line.split("\t")) == 3 for line in ann.splitlines() if line[0] == "T")


def test_a_folder_that_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    pain = Entity(Span(7, 17), "problem", "chest pain", attributes=(("Sure", ""),))
    entities = (pain, entity_at(TEXT, 0, 6, "negation"))
    gold = GoldNote(Note("n", TEXT), Annotation(entities, (Relation(0, 1, "hasAttr"),)))
    write_brat(tmp_path, [gold])
    assert read_brat(tmp_path)[0] == [gold]
    assert (tmp_path / "n.txt").read_bytes() == TEXT.encode()
