"""brat: what the writer gives, and the round trip through it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.types import Annotation, Entity, Note, Relation, Span, entity_at
from spanlake.corpora import (
    GoldNote,
    ReadReport,
    parse_ann,
    read_brat,
    write_ann,
    write_brat,
)
from spanlake.corpora.base import LINE_ENDS, without_line_breaks
from spanlake.errors import DataError

TEXT = "Denies chest pain.\r\nMild cough 🩺 since May."


def test_the_writer_gives_nothing_for_nothing_and_one_line_an_entity() -> None:
    assert write_ann(Annotation()) == ""
    text = "a\r\nb\tc\fd\u2028e"
    entity = entity_at(text, 0, len(text), "problem")
    assert write_ann(Annotation((entity,))) == ("T1\tproblem 0 1;3 4;5 6;7 8;9 10\ta b c d e\n")


def test_an_entity_over_line_ends_is_written_in_fragments() -> None:
    text = "No chest \r\n  pain,\r\n\r\nor  cough.\n"
    entity = entity_at(text, 3, 31, "problem")
    ann = write_ann(Annotation((entity,)))
    assert ann == "T1\tproblem 3 8;13 18;22 31\tchest pain, or  cough\n"
    assert parse_ann(ann, text, name="a.ann", report=ReadReport()) == Annotation((entity,))


def test_a_discontinuous_entity_keeps_its_pieces_over_line_ends() -> None:
    text = "chest\nand back\npain"
    pieces = (Span(0, 5), Span(10, 19))
    entity = Entity(Span(0, 19), "problem", text, pieces=pieces)
    ann = write_ann(Annotation((entity,)))
    assert ann == "T1\tproblem 0 5;10 14;15 19\tchest back pain\n"
    report = ReadReport()
    assert parse_ann(ann, text, name="a.ann", report=report) == Annotation((entity,))
    assert report.counts == {"discontinuous": 1}


def test_line_breaks_at_the_ends_of_an_entity_are_not_written() -> None:
    text = " \nfever\r\n"
    ann = write_ann(Annotation((entity_at(text, 0, len(text), "problem"),)))
    assert ann == "T1\tproblem 2 7\tfever\n"
    with pytest.raises(DataError, match="entity 7-9 is but line breaks"):
        write_ann(Annotation((entity_at(text, 7, 9, "problem"),)))


def test_what_a_rule_has_added_is_said_in_a_note() -> None:
    head = entity_at(TEXT, 7, 17, "problem")
    tail = replace(entity_at(TEXT, 0, 6, "negation"), by_rule=True)
    assert write_ann(Annotation((head, tail), (Relation(0, 1, "hasAttr", by_rule=True),))) == (
        "T1\tproblem 7 17\tchest pain\nT2\tnegation 0 6\tDenies\n"
        "R1\thasAttr Arg1:T1 Arg2:T2\n"
        "#1\tAnnotatorNotes T2\tsource: rule\n#2\tAnnotatorNotes R1\tsource: rule\n"
    )


def test_a_note_that_utf_8_cannot_hold_is_named_and_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="note 'n': a lone surrogate"):
        write_brat(tmp_path, [GoldNote(Note("n", "fever \ud800"), Annotation())])
    assert not list(tmp_path.iterdir())


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
TEXTS = st.text(
    alphabet="ab .\r\n\t\f\x0b\x85\u2028\u00a0e\u0301\u200b\u05d0İ🩺;0T\ufeff",
    min_size=1,
    max_size=30,
)
AT_AN_END = re.compile(rf"\s*[{LINE_ENDS}]|.*[{LINE_ENDS}]\s*\Z", re.DOTALL)


@st.composite
def gold_notes(draw: st.DrawFn) -> GoldNote:
    """Notes whose entities stand anywhere, but have no line break at an end of theirs."""
    text = draw(TEXTS.filter(str.strip))
    places = [(a, b) for a in range(len(text)) for b in range(a + 1, len(text) + 1)]
    spans = [Span(a, b) for a, b in places if text[a:b].strip() and not AT_AN_END.match(text[a:b])]

    entities = []
    for _ in range(draw(st.integers(0, 4))):
        drawn = draw(st.lists(st.sampled_from(spans), min_size=1, max_size=3))
        pieces = without_line_breaks(text, drawn)
        start, end = min(p.start for p in pieces), max(p.end for p in pieces)
        values = st.one_of(st.just(""), NAMES, st.just("two words"))
        attributes = tuple(draw(st.lists(st.tuples(NAMES, values), max_size=2)))
        label, kept = draw(NAMES), pieces if len(pieces) > 1 else ()
        said, rule = text[start:end], draw(st.booleans())
        entities.append(Entity(Span(start, end), label, said, None, kept, attributes, rule))
    ends = st.integers(0, max(len(entities) - 1, 0))
    built = st.builds(Relation, ends, ends, NAMES, st.none(), st.booleans())
    found = st.lists(built, max_size=4, unique_by=lambda r: (r.head, r.tail, r.label))
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
    assert ann.splitlines() == ann.split("\n")[:-1]
    assert not refused_by_brat(ann, gold.note.note_text)


@given(TEXTS, st.data())
def test_brat_refuses_no_entity_wherever_it_stands(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    entity = entity_at(text, start, end, "problem")
    if not re.sub(rf"\s*[{LINE_ENDS}]\s*", "", entity.text):
        return
    ann = write_ann(Annotation((entity,)))
    assert not refused_by_brat(ann, text)
    report = ReadReport()
    (back,) = parse_ann(ann, text, name="a.ann", report=report).entities
    assert not report.counts and not back.pieces
    assert entity.span.contains(back.span)
    assert back.text.split() == entity.text.split()


def refused_by_brat(ann: str, text: str) -> list[str]:
    """Return the T lines that brat does not open (server/src/annotation.py, TextAnnotations).

    The text column begins with the text of the fragments, joined by a space each; lines are split
    as `codecs` splits them, at every line break of Unicode.
    """
    refused = []
    for line in ann.splitlines():
        if line.startswith("T"):
            _, data, tail = line.split("\t", 2)
            places = [place.split() for place in data.split(" ", 1)[1].split(";")]
            if not tail.startswith(" ".join(text[int(a) : int(b)] for a, b in places)):
                refused.append(line)
    return refused


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffNo fever \U0001f912\U0001f3fd and chest\r\npain.\r\n",
        "Vomissements re\u0301pe\u0301te\u0301s\fdepuis\nlundi.",
        "\u05db\u05d0\u05d1\u05d9\u05dd \u05d1\n\u05d7\u05d6\u05d4 \u202bfever\u202c 39\u00b0C",
    ],
)
def test_brat_opens_what_is_written_of_any_writing(text: str) -> None:
    words = [match.span() for match in re.finditer(r"\S+", text)]
    entities = [
        entity_at(text, first, last, "problem") for first, _ in words for _, last in words
        if first < last
    ]  # fmt: skip
    ann = write_ann(Annotation(tuple(entities)))
    assert not refused_by_brat(ann, text)
    back = parse_ann(ann, text, name="a.ann", report=ReadReport())
    assert back == Annotation(tuple(entities))


def test_brat_opens_the_bundled_gold(samples: Path) -> None:
    for gold in read_brat(samples)[0]:
        ann = (samples / f"{gold.note.note_id}.ann").read_bytes().decode("utf-8")
        assert not refused_by_brat(ann, gold.note.note_text)


def test_a_folder_that_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    pain = Entity(Span(7, 17), "problem", "chest pain", attributes=(("Sure", ""),))
    entities = (pain, entity_at(TEXT, 0, 6, "negation"))
    gold = GoldNote(Note("n", TEXT), Annotation(entities, (Relation(0, 1, "hasAttr"),)))
    write_brat(tmp_path, [gold])
    assert read_brat(tmp_path)[0] == [gold]
    assert (tmp_path / "n.txt").read_bytes() == TEXT.encode()
