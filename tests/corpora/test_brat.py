"""brat: every trap of the format, and the real corpora."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation, Entity, Note, Relation, Span
from spanlake.corpora import (
    ReadReport,
    parse_ann,
    read_ann,
    read_brat,
    write_ann,
    write_brat,
)
from spanlake.errors import DataError

TEXT = "Denies chest pain.\r\nMild cough 🩺 since May."
PAIN = "T1\tproblem 7 17\tchest pain\n"
DENIES = "T2\tnegation 0 6\tDenies\n"
LINK = "R1\thasAttr Arg1:T1 Arg2:T2\n"


def parse(ann: str, text: str = TEXT, labels: str | None = None) -> tuple[Annotation, ReadReport]:
    report = ReadReport()
    found = parse_ann(ann, text, name="a.ann", report=report, labels=labels and load_labels(labels))
    return found.check(text), report


def keys(annotation: Annotation) -> list[tuple[int, int, str]]:
    return [entity.key for entity in annotation.entities]


def test_entities_and_relations_come_with_note_offsets() -> None:
    found, report = parse(PAIN + DENIES + LINK, labels="kiwi")
    assert keys(found) == [(7, 17, "problem"), (0, 6, "negation")]
    assert [entity.text for entity in found.entities] == ["chest pain", "Denies"]
    assert found.relations == (Relation(0, 1, "hasAttr"),)
    assert not report.counts and not report.problems


def test_offsets_count_carriage_returns_and_an_emoji_as_one_each() -> None:
    found, report = parse("T1\tproblem 25 30\tcough\nT2\ttemporal 39 42\tMay\n")
    assert [entity.text for entity in found.entities] == ["cough", "May"]
    assert not report.problems


def test_lines_may_come_in_any_order_with_trailing_tabs_crlf_and_a_byte_order_mark() -> None:
    ann = "\ufeffR1\thasAttr Arg1:T1 Arg2:T2\t\r\n\r\nT2\tnegation 0 6\tDenies\t\r\n" + PAIN
    found, report = parse(ann, labels="kiwi")
    assert [found.entities[i].text for i in (found.relations[0].head, found.relations[0].tail)] == [
        *("chest pain", "Denies")
    ]
    assert not report.problems


def test_relation_arguments_are_taken_by_their_role() -> None:
    found, _ = parse(PAIN + DENIES + "R1\thasAttr Arg2:T2 Arg1:T1\n")
    assert found.relations == (Relation(0, 1, "hasAttr"),)


def test_a_discontinuous_entity_becomes_its_covering_span_and_keeps_its_pieces() -> None:
    found, report = parse("T1\tproblem 20 24;25 30\tMild cough\n")
    assert found.entities[0].span == Span(20, 30)
    assert found.entities[0].pieces == (Span(20, 24), Span(25, 30))
    assert report.counts == {"discontinuous": 1}
    assert write_ann(found) == "T1\tproblem 20 24;25 30\tMild cough\n"


def test_events_become_relations_from_their_trigger() -> None:
    ann = (
        "E1\tSign:T1 Negation1:T2 Cause2:E2 7:T2\nE2\tSign:T3 \n"
        "R1\tBEFORE Arg1:E2 Arg2:E1\nA1\tPOLARITY E2 NEG\nA2\tHedged T1\n"
    )
    found, report = parse(ann + PAIN + DENIES + "T3\tSign 25 30\tcough\n")
    assert {(r.head, r.tail, r.label) for r in found.relations} == {
        (0, 1, "Negation"),
        (0, 2, "Cause"),
        (0, 1, "7"),
        (2, 0, "BEFORE"),
    }
    assert found.entities[2].attributes == (("POLARITY", "NEG"),)
    assert found.entities[0].attributes == (("Hedged", ""),)
    assert report.counts == {"event": 2}


def test_what_is_not_read_is_counted_by_kind() -> None:
    ann = "*\tOR T1 T2\nN1\tReference T1 X:1\tpain\n#1\tAnnotatorNotes T1\tsure?\n"
    found, report = parse(ann + PAIN)
    assert len(found.entities) == 1
    assert report.counts == {"symmetric_relation": 1, "normalization": 1, "comment": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("T9 problem 0 6\tDenies", "bad_line"),
        ("T9\tproblem 0\tDenies", "bad_line"),
        ("T9\tproblem 6 6\t", "bad_line"),
        ("T9\tproblem 6 0\tDenies", "bad_line"),
        ("T1\tproblem 0 6\tDenies", "bad_line"),
        ("R9\thasAttr T1 T2", "bad_line"),
        ("E9\tSign", "bad_line"),
        ("A9\tNegated", "bad_line"),
        ("Not a line of brat", "bad_line"),
        ("* not one either", "bad_line"),
        ("T9\tproblem 40 400\tMay", "offsets_outside"),
        ("T9\tproblem 0 5\tDenies", "text_mismatch"),
        ("T9\tproblem 0 6\tdenies", "text_mismatch"),
        ("T9\tproblem 0 6", "text_mismatch"),
        ("R9\thasAttr Arg1:T1 Arg2:T8", "dangling_relation"),
        ("R9\thasAttr Arg1:T1 Arg2:T2", "duplicate_relation"),
        ("E9\tSign:T8", "dangling_event"),
        ("A9\tNegated T8", "dangling_attribute"),
        ("A9\tNegated R1", "dangling_attribute"),
    ],
)
def test_a_bad_line_is_reported_with_file_and_line_and_costs_no_other(
    line: str, reason: str
) -> None:
    found, report = parse(PAIN + DENIES + LINK + line + "\nT5\tproblem 25 30\tcough\n")
    assert report.problems == [f"a.ann:4: {reason}"]
    assert report.counts[reason] == 1
    assert keys(found)[:2] == [(7, 17, "problem"), (0, 6, "negation")]
    assert keys(found)[-1] == (25, 30, "problem")
    assert len(found.entities) == 3 + (reason == "text_mismatch")
    assert len(found.relations) == 1


def test_a_mismatched_entity_keeps_the_text_of_its_offsets() -> None:
    found, _ = parse("T1\tproblem 0 6\tRefuses\n")
    assert found.entities[0].text == "Denies"


@pytest.mark.parametrize("shown", ["pain.  Mild", "pain.\r Mild"])
def test_line_breaks_count_as_spaces_in_the_text_column(shown: str) -> None:
    found, report = parse(f"T1\tproblem 13 24\t{shown}\n")
    assert found.entities[0].text == "pain.\r\nMild"
    assert not report.problems


def test_a_label_set_renames_refuses_and_counts() -> None:
    ann = (
        PAIN
        + DENIES
        + "T3\tproblem 25 30\tcough\nT4\tweather 20 24\tMild\nT5\ttemporal 39 42\tMay\n"
        + "R1\thasTemporal Arg1:T3 Arg2:T5\nR2\thasAttr Arg1:T1 Arg2:T3\n"
        + "R3\thasAttr Arg1:T2 Arg2:T1\nR4\tcauses Arg1:T1 Arg2:T2\nR5\thasAttr Arg1:T3 Arg2:T4\n"
        + "R6\thasAttr Arg1:T3 Arg2:T5\nR7\thasAttr Arg1:T5 Arg2:T2\n"
    )
    found, report = parse(ann, labels="kiwi")
    assert found.relations == (Relation(2, 3, "hasAttr"), Relation(0, 1, "hasAttr"))
    assert "weather" not in [entity.label for entity in found.entities]
    assert report.problems == [
        "a.ann:4: unknown_label",
        "a.ann:7: relation_not_allowed",
        "a.ann:9: unknown_relation",
        "a.ann:10: lost_relation",
        "a.ann:11: duplicate_relation",
        "a.ann:12: relation_not_allowed",
    ]
    assert report.counts["relation_renamed"] == 1
    assert report.counts["relation_turned"] == 1
    assert [entity.label for entity in parse(ann)[0].entities].count("weather") == 1


def test_a_relation_of_which_only_the_other_direction_is_allowed_is_turned_round() -> None:
    ann = PAIN + DENIES + "R1\thasAttr Arg1:T2 Arg2:T1\n"
    found, report = parse(ann, labels="kiwi")
    assert found.relations == (Relation(0, 1, "hasAttr"),)
    assert report.counts == {"relation_turned": 1} and not report.problems
    assert parse(ann)[0].relations == (Relation(1, 0, "hasAttr"),)


def test_what_a_rule_has_added_is_marked_and_other_comments_are_counted() -> None:
    ann = (
        "#1\tAnnotatorNotes T2\tsource: rule\n#2\tAnnotatorNotes R1\tsource: rule\r\n"
        "#3\tAnnotatorNotes T1\tsource: rules\n#4\tAnnotatorNotes T9\tsource: rule\n"
        "#5\tAnnotatorNotes T1\tmy source: rule\n#6\tOther T1\tsource: rule\n"
    )
    found, report = parse(ann + PAIN + DENIES + LINK, labels="kiwi")
    assert [entity.by_rule for entity in found.entities] == [False, True]
    assert [relation.by_rule for relation in found.relations] == [True]
    assert report.counts == {"comment": 4} and not report.problems


@pytest.mark.parametrize("between", ["\n", " \r\n  ", "\v", "\u2028", "\t"])
def test_fragments_that_a_line_break_alone_parts_are_one_piece(between: str) -> None:
    text = f"chest{between}pain"
    ann = f"T1\tproblem 0 5;{len(text) - 4} {len(text)}\tchest pain\n"
    found, report = parse(ann, text)
    assert found.entities == (Entity(Span(0, len(text)), "problem", text),)
    assert not report.counts
    assert write_ann(found) == ann


@pytest.mark.parametrize("between", [" ", " and\n", "", "\n."])
def test_fragments_that_more_or_less_than_a_line_break_parts_stay_apart(between: str) -> None:
    text = f"chest{between}pain"
    ann = f"T1\tproblem 0 5;{len(text) - 4} {len(text)}\tchest pain\n"
    found, report = parse(ann, text)
    assert len(found.entities[0].pieces) == 2
    assert report.counts == {"discontinuous": 1}


def test_suffixes_may_be_in_upper_case_and_texts_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.TXT").write_bytes("Caf\u00e9: fever".encode("cp1252"))
    (tmp_path / "a.Ann").write_bytes(b"T1\tproblem 6 11\tfever\n")
    notes, report = read_brat(tmp_path, encoding="cp1252")
    [gold] = notes
    assert (gold.note.note_id, gold.annotation.entities[0].text) == ("a", "fever")
    assert not report.problems
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"names that differ in \.txt and \.TXT only: a"):
        read_brat(tmp_path)


def test_a_file_that_has_vanished_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "gone")
    (tmp_path / "a.ann").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.txt: no such file"):
        read_brat(tmp_path)


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    for name in ("a.txt", "a.ann"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a\.txt: cannot be read \(PermissionError\)"):
        read_brat(tmp_path)


def test_an_alias_renames_an_entity_and_is_counted() -> None:
    labels = load_labels("kiwi").model_copy(update={"aliases": {"Finding": "problem"}})
    report = ReadReport()
    ann = "T1\tFinding 7 17\tchest pain\n"
    found = parse_ann(ann, TEXT, name="a.ann", report=report, labels=labels)
    assert keys(found) == [(7, 17, "problem")]
    assert report.counts == {"label_renamed": 1} and not report.problems


def test_overlaps_are_counted_within_a_layer_only() -> None:
    nested = "T2\tbodyloc 7 12\tchest\nT3\tproblem 13 17\tpain\n"
    assert parse(PAIN + nested, labels="kiwi")[1].counts == {"overlapping": 1}
    assert parse(PAIN + nested)[1].counts == {"overlapping": 2}
    touching = "T2\tproblem 17 18\t.\nT3\tproblem 0 7\tDenies \n"
    assert not parse(PAIN + touching)[1].counts


def test_no_report_holds_note_text() -> None:
    _, report = parse("T1\tproblem 0 6\tSecret\nSecret words\nSecret 0 3\nR1\tSecret Secret\n")
    assert len(report.problems) == 4
    assert "Secret" not in repr(report)


def test_a_folder_is_read_in_order_of_name_with_newlines_as_stored(tmp_path: Path) -> None:
    for name in "gcabfde":
        (tmp_path / f"{name}.txt").write_bytes(TEXT.encode() if name > "a" else b"")
        (tmp_path / f"{name}.ann").write_bytes(PAIN.encode() if name > "a" else b"")
    notes, report = read_brat(tmp_path)
    assert [gold.note for gold in notes] == [Note("a", ""), *(Note(n, TEXT) for n in "bcdefg")]
    assert [len(gold.annotation.entities) for gold in notes] == [0, 1, 1, 1, 1, 1, 1]
    assert not report.problems


def test_files_without_their_partner_other_encodings_and_empty_folders_are_errors(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"no \.txt"):
        read_brat(tmp_path)
    (tmp_path / "a.txt").write_bytes("naïve secret".encode("latin-1"))
    with pytest.raises(DataError, match="1 names lack"):
        read_brat(tmp_path)
    (tmp_path / "a.ann").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.txt: not UTF-8 at byte 2") as caught:
        read_brat(tmp_path)
    assert "secret" not in str(caught.value)


def test_predictions_are_read_against_a_note_that_lies_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a.ann").write_bytes(PAIN.encode())
    gold, report = read_ann(tmp_path / "a.ann", Note("a", TEXT), load_labels("kiwi"))
    assert keys(gold.annotation) == [(7, 17, "problem")]
    assert not report.problems
    with pytest.raises(DataError, match=r"b\.ann: no such file"):
        read_ann(tmp_path / "b.ann", Note("b", TEXT))


def test_reports_of_several_files_add_up() -> None:
    total = ReadReport()
    for ann in ("x\n", "\ny\n" + PAIN + PAIN):
        total.add(parse(ann)[1])
    assert total.counts == {"bad_line": 3}
    assert total.problems == ["a.ann:1: bad_line", "a.ann:2: bad_line", "a.ann:4: bad_line"]


@pytest.mark.parametrize(("split", "size"), [("train", (75, 8510, 3627)), ("dev", (15, 1663, 714))])
def test_the_mtsamples_notes_are_read_whole(
    corpora: Path, split: str, size: tuple[int, int, int]
) -> None:
    folder = corpora / "mtsamples_kiwi" / split
    notes, report = read_brat(folder, load_labels("kiwi"))
    entities = sum(len(gold.annotation.entities) for gold in notes)
    assert (len(notes), entities, sum(len(g.annotation.relations) for g in notes)) == size
    # One entity's text runs over a line break in the .ann file itself.
    known = {"train": {"text_mismatch": 1, "bad_line": 1}, "dev": {}}
    assert report.counts == known[split]
    assert len(report.problems) == len(known[split])


def test_chia_with_its_relations_first_and_its_pieces_is_read_whole(
    corpora: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(corpora / "chia" / "chia_without_scope.zip") as archive:
        archive.extractall(tmp_path)
    notes, report = read_brat(tmp_path / "chia_without_scope")
    assert len(notes) == 2000
    assert sum(len(gold.annotation.entities) for gold in notes) == 44616
    relations = sum(len(gold.annotation.relations) for gold in notes)
    assert relations + report.counts["duplicate_relation"] == 20153
    assert report.counts["symmetric_relation"] == 5015
    assert report.counts["discontinuous"] == 1795  # and one over a line end
    assert set(report.counts) - {"overlapping", "symmetric_relation", "discontinuous"} == {
        *("duplicate_relation", "text_mismatch")
    }
    write_brat(tmp_path / "again", notes)
    again, second = read_brat(tmp_path / "again")
    assert [gold.note for gold in again] == [gold.note for gold in notes]
    pairs = [
        (one, other)
        for now, before in zip(again, notes, strict=True)
        for one, other in zip(now.annotation.entities, before.annotation.entities, strict=True)
        if one != other
    ]
    assert len(pairs) == 11  # end in half of a CRLF, which brat would refuse
    assert all(one.text + "\r" == other.text for one, other in pairs)
    assert not second.problems
