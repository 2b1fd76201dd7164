"""IOB and CoNLL files: columns, note borders, illegal tags, and the real corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from convert_corpus import main, read_iob
from spanlake.core.labels import load_labels
from spanlake.corpora import GoldNote, ReadReport, read_jsonl
from spanlake.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "part.tsv"


def found(notes: list[GoldNote]) -> list[list[tuple[str, str]]]:
    return [[(e.text, e.label) for e in gold.annotation.entities] for gold in notes]


def test_tokens_are_joined_by_spaces_and_sentences_by_newlines(file: Path) -> None:
    file.write_text("Heart\tB-a\nfailure\tI-a\n.\tO\n\nNo\tO\ncough\tB-a\n", encoding="utf-8")
    notes, report = read_iob(file)
    assert [gold.note.note_text for gold in notes] == ["Heart failure .\nNo cough"]
    assert found(notes) == [[("Heart failure", "a"), ("cough", "a")]]
    assert not report.counts


def test_docstart_begins_a_note_and_may_name_it(file: Path) -> None:
    file.write_bytes(
        b"-DOCSTART-\tO\t911\r\n\r\nA\tO\r\n\r\n-DOCSTART-\tO\r\n\r\nB\tB-a\r\n\r\n\r\nC\tI-a\r\n"
    )
    notes, _ = read_iob(file)
    assert [(n.note.note_id, n.note.note_text) for n in notes] == [
        ("911", "A"),
        ("part-0002", "B\nC"),
    ]
    assert found(notes) == [[], [("B", "a"), ("C", "a")]]


def test_sentences_before_the_first_docstart_are_a_note_too(file: Path) -> None:
    file.write_text("A\tO\n\n-DOCSTART-\tO\n\nB\tO\n", encoding="utf-8")
    assert [gold.note.note_text for gold in read_iob(file)[0]] == ["A", "B"]


def test_a_file_without_docstart_is_cut_after_so_many_sentences(file: Path) -> None:
    file.write_text("".join(f"w{i}\tO\n\n" for i in range(5)), encoding="utf-8")
    notes, _ = read_iob(file, sentences_per_note=2)
    assert [gold.note.note_text for gold in notes] == ["w0\nw1", "w2\nw3", "w4"]
    assert [gold.note.note_id for gold in notes] == ["part-0001", "part-0002", "part-0003"]


def test_columns_are_chosen_by_number_and_may_be_parted_by_spaces(file: Path) -> None:
    file.write_text(
        "-DOCSTART- -X- -X- O\n\nno\u00a0one NN  B-NP B-a\nelse RB I-NP I-a\n", encoding="utf-8"
    )
    notes, report = read_iob(file, tag_column=3)
    assert found(notes) == [[("no\u00a0one else", "a")]]
    assert notes[0].note.note_id == "part-0001"
    assert not report.counts


def test_an_inside_tag_without_its_own_label_before_it_opens_an_entity(file: Path) -> None:
    file.write_text("A\tI-a\nB\tI-b\nC\tI-b\n\nD\tI-b\n", encoding="utf-8")
    notes, report = read_iob(file)
    assert found(notes) == [[("A", "a"), ("B C", "b"), ("D", "b")]]
    assert report.problems == [f"part.tsv:{line}: illegal_tag" for line in (1, 2, 5)]


def test_bad_lines_are_reported_and_their_tokens_stay_in_the_text(file: Path) -> None:
    file.write_text("A\tB-a\nalone\n\tB-a\nC\tS-a\nD\tB-\nE\tO\n", encoding="utf-8")
    notes, report = read_iob(file)
    assert notes[0].note.note_text == "A alone C D E"
    assert found(notes) == [[("A", "a")]]
    assert report.problems == [f"part.tsv:{line}: bad_line" for line in (2, 3, 4, 5)]


def test_labels_that_the_set_lacks_are_left_out_with_their_line(file: Path) -> None:
    file.write_text("A\tB-Disease\nB\tB-Weather\nC\tI-Weather\n", encoding="utf-8")
    notes, report = read_iob(file, load_labels("bc5cdr"))
    assert found(notes) == [[("A", "Disease")]]
    assert report.problems == ["part.tsv:2: unknown_label"]


def test_an_empty_file_holds_no_notes_and_another_encoding_is_refused(file: Path) -> None:
    file.write_bytes(b"")
    assert read_iob(file) == ([], ReadReport())
    file.write_bytes(b"caf\xe9\tO\n")
    with pytest.raises(DataError, match=r"part\.tsv: not UTF-8 at byte 3"):
        read_iob(file)


@pytest.mark.parametrize(
    ("name", "sentences", "entities", "first"),
    [
        ("train", 4560, 9385, ("Chemical", 5203)),
        ("devel", 4581, 9593, ("Chemical", 5347)),
        ("test", 4797, 9809, ("Chemical", 5385)),
    ],
)
def test_bc5cdr_is_read_whole(
    corpora: Path, name: str, sentences: int, entities: int, first: tuple[str, int]
) -> None:
    notes, report = read_iob(corpora / "bc5cdr" / "iob" / f"{name}.tsv", load_labels("bc5cdr"))
    labels = [entity.label for gold in notes for entity in gold.annotation.entities]
    assert sum(gold.note.note_text.count("\n") + 1 for gold in notes) == sentences
    assert (len(labels), labels.count(first[0])) == (entities, first[1])
    assert not report.counts


@pytest.mark.parametrize(
    ("name", "notes", "sentences", "entities"),
    [
        ("iob/devel.tsv", 200, 1739, 4551),
        ("iob/test.tsv", 404, 3856, 8662),
        ("derived/train_reconstructed.iob2.tsv", 1799, 16794, 46730),
    ],
)
def test_jnlpba_is_read_whole(
    corpora: Path, name: str, notes: int, sentences: int, entities: int
) -> None:
    found_notes, report = read_iob(corpora / "jnlpba" / name, load_labels("jnlpba"))
    assert len({gold.note.note_id for gold in found_notes}) == notes
    assert sum(gold.note.note_text.count("\n") + 1 for gold in found_notes) == sentences
    assert sum(len(gold.annotation.entities) for gold in found_notes) == entities
    assert not report.counts


def test_the_script_writes_json_lines_that_are_read_again(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text("Chest\tB-problem\npain\tI-problem\n\n.\tO\n", encoding="utf-8")
    target = tmp_path / "a.jsonl"
    assert main(["iob", str(tmp_path / "a.tsv"), str(target), "--labels", "kiwi"]) == 0
    [gold], report = read_jsonl(target, load_labels("kiwi"))
    assert [(e.text, e.label) for e in gold.annotation.entities] == [("Chest pain", "problem")]
    assert not report.problems and "1 notes" in capsys.readouterr().err
