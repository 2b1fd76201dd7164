"""PubTator files: offsets over title and abstract, concepts, bad lines, and BioRED itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from convert_corpus import read_pubtator
from spanlake.core.labels import load_labels
from spanlake.core.types import Span
from spanlake.corpora import GoldNote, ReadReport

HEAD = "7|t|Zinc in mice.\n7|a|Zinc | t | lowered\x0cTNF.\n"


def read(tmp_path: Path, text: str, labels: str | None = None) -> tuple[list[GoldNote], ReadReport]:
    path = tmp_path / "a.PubTator"
    path.write_bytes(text.encode("utf-8"))
    return read_pubtator(path, labels and load_labels(labels))


def test_the_abstract_begins_one_character_after_the_title(tmp_path: Path) -> None:
    rows = "7\t0\t4\tZinc\tChemicalEntity\tD015\n7\t33\t36\tTNF\tGeneOrGeneProduct\t7124\n"
    notes, report = read(tmp_path, HEAD + rows, "biored")
    assert notes[0].note.note_id == "7"
    assert notes[0].note.note_text == "Zinc in mice.\nZinc | t | lowered\x0cTNF."
    assert [(e.text, e.attributes) for e in notes[0].annotation.entities] == [
        ("Zinc", (("identifier", "D015"),)),
        ("TNF", (("identifier", "7124"),)),
    ]
    assert not report.counts


def test_an_entity_may_run_from_the_title_into_the_abstract(tmp_path: Path) -> None:
    notes, report = read(tmp_path, HEAD + "7\t8\t18\tmice. Zinc\tOdd\n")
    assert notes[0].annotation.entities[0].span == Span(8, 18)
    assert notes[0].annotation.entities[0].attributes == ()
    assert not report.problems


def test_crlf_files_notes_without_entities_and_without_blank_lines_between(tmp_path: Path) -> None:
    text = "1|t|One.\r\n1|a|\r\n2|t|Two.\r\n2|a|Zinc.\r\n2\t5\t9\tZinc\tChemicalEntity\tD\r\n\r\n"
    notes, report = read(tmp_path, text)
    assert [gold.note.note_text for gold in notes] == ["One.\n", "Two.\nZinc."]
    assert [len(gold.annotation.entities) for gold in notes] == [0, 1]
    assert notes[1].annotation.entities[0].attributes == (("identifier", "D"),)
    assert not report.counts


def test_relations_between_concepts_are_counted_and_not_read(tmp_path: Path) -> None:
    rows = "7\tAssociation\tD015\t7124\tNovel\n7\tCID\tD015\tD7\n"
    notes, report = read(tmp_path, HEAD + rows)
    assert notes[0].annotation.relations == ()
    assert report.counts == {"concept_relation": 2} and not report.problems


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("7 0 4 Zinc ChemicalEntity", "bad_line"),
        ("8\t0\t4\tZinc\tChemicalEntity\tD", "bad_line"),
        ("7|t|Again.", "bad_line"),
        ("7|a|Again.", "bad_line"),
        ("8|a|No title.", "bad_line"),
        ("7\t0\tfour\tZinc\tChemicalEntity\tD", "bad_line"),
        ("7\t0\t4\tZinc", "bad_line"),
        ("7\t4\t4\t\tChemicalEntity\tD", "bad_line"),
        ("7\t30\t99\tTNF\tGeneOrGeneProduct\t1", "offsets_outside"),
        ("7\t1\t5\tZinc\tChemicalEntity\tD", "text_mismatch"),
        ("7\t0\t4\tZinc\tWeather\tD", "unknown_label"),
    ],
)
def test_a_bad_line_is_reported_with_file_and_line_and_costs_no_other(
    tmp_path: Path, line: str, reason: str
) -> None:
    text = HEAD + line + "\n7\t8\t12\tmice\tOrganismTaxon\t10090\n"
    notes, report = read(tmp_path, text, "biored")
    assert report.problems == [f"a.PubTator:3: {reason}"]
    assert notes[0].annotation.entities[-1].text == "mice"
    assert len(notes) == 1
    assert len(notes[0].annotation.entities) == 1 + (reason == "text_mismatch")


@pytest.mark.parametrize(
    ("split", "notes", "entities", "genes", "relations"),
    [
        ("Train", 400, 13351, 4430, 4178),
        ("Dev", 100, 3533, 1087, 1162),
        ("Test", 100, 3535, 1180, 1163),
    ],
)
def test_biored_is_read_whole_without_a_mismatch(
    corpora: Path, split: str, notes: int, entities: int, genes: int, relations: int
) -> None:
    path = corpora / "biored" / f"{split}.PubTator"
    found, report = read_pubtator(path, load_labels("biored"))
    labels = Counter(entity.label for gold in found for entity in gold.annotation.entities)
    assert (len(found), labels.total(), labels["GeneOrGeneProduct"]) == (notes, entities, genes)
    assert report.counts == {"concept_relation": relations}
    assert all(e.attributes for gold in found for e in gold.annotation.entities)
