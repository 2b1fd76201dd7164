"""ChemProt's files: offsets over title and abstract, overlaps, relations, and the real splits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from convert_corpus import read_chemprot
from spanlake.core.labels import load_labels
from spanlake.core.types import Relation
from spanlake.corpora import GoldNote, ReadReport
from spanlake.errors import DataError

ABSTRACTS = '7\tZinc and TNF.\tZinc "lowers TNF alpha.\n'
ENTITIES = "7\tT2\tGENE-Y\t27\t30\tTNF\n7\tT1\tCHEMICAL\t14\t18\tZinc\n"
RELATIONS = "7\tCPR:4\tArg1:T1\tArg2:T2\n"


def read(
    folder: Path,
    abstracts: str = ABSTRACTS,
    entities: str = ENTITIES,
    relations: str = RELATIONS,
    labels: str | None = "chemprot",
) -> tuple[list[GoldNote], ReadReport]:
    files = {"abstracts": abstracts, "entities": entities, "gold_standard": relations}
    for kind, text in files.items():
        (folder / f"x_{kind}.tsv").write_bytes(text.encode("utf-8"))
    (folder / "x_relations.tsv").write_text("7\tCPR:2\tN\tOTHER\tArg1:T1\tArg2:T2\n")
    return read_chemprot(folder, labels and load_labels(labels))


def test_offsets_count_a_tab_between_title_and_abstract(tmp_path: Path) -> None:
    notes, report = read(tmp_path)
    assert notes[0].note.note_text == 'Zinc and TNF.\tZinc "lowers TNF alpha.'
    assert [e.text for e in notes[0].annotation.entities] == ["TNF", "Zinc"]
    assert not report.counts


def test_relations_go_from_the_chemical_to_the_gene(tmp_path: Path) -> None:
    notes, _ = read(tmp_path)
    assert notes[0].annotation.relations == (Relation(1, 0, "CPR:4"),)


def test_overlapping_entities_are_kept_and_counted(tmp_path: Path) -> None:
    notes, report = read(tmp_path, entities=ENTITIES + "7\tT3\tGENE-N\t27\t36\tTNF alpha\n")
    assert len(notes[0].annotation.entities) == 3
    assert report.counts == {"overlapping": 1}


def test_every_bad_line_is_reported_with_its_file(tmp_path: Path) -> None:
    notes, report = read(
        tmp_path,
        ABSTRACTS + "8\tno abstract\n7\tagain\ttwice\n\n",
        ENTITIES
        + "9\tT1\tCHEMICAL\t0\t4\tZinc\n7\tT1\tCHEMICAL\t0\t4\tZinc\n7\tT4\tCHEMICAL\tx\t4\tZinc\n"
        + "7\tT5\tCHEMICAL\t0\t99\tZinc\n7\tT6\tCHEMICAL\t0\t4\tIron\n7\tT7\tWEATHER\t0\t4\tZinc\n",
        RELATIONS
        + "7\tCPR:4\tArg1:T1\tArg2:T9\n7\tCPR:4\tT1\tT2\n7\tCPR:8\tArg1:T1\tArg2:T2\n"
        + "7\tCPR:4\tArg1:T1\tArg2:T1\n9\tCPR:4\tArg1:T1\tArg2:T2\n7\tCPR:4\tArg1:T7\tArg2:T2\n",
    )
    assert sorted(report.problems) == [
        "x_abstracts.tsv:2: bad_line",
        "x_abstracts.tsv:3: bad_line",
        "x_entities.tsv:3: bad_line",
        "x_entities.tsv:4: bad_line",
        "x_entities.tsv:5: bad_line",
        "x_entities.tsv:6: offsets_outside",
        "x_entities.tsv:7: text_mismatch",
        "x_entities.tsv:8: unknown_label",
        "x_gold_standard.tsv:2: dangling_relation",
        "x_gold_standard.tsv:3: bad_line",
        "x_gold_standard.tsv:4: unknown_relation",
        "x_gold_standard.tsv:5: relation_not_allowed",
        "x_gold_standard.tsv:6: bad_line",
        "x_gold_standard.tsv:7: lost_relation",
    ]
    assert [len(gold.annotation.entities) for gold in notes] == [3]
    assert [len(gold.annotation.relations) for gold in notes] == [1]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    read(tmp_path)
    (tmp_path / "x_entities.tsv").unlink()
    with pytest.raises(DataError, match=r"0 files \*_entities\.tsv"):
        read_chemprot(tmp_path)


@pytest.mark.parametrize(
    ("split", "notes", "entities", "chemicals", "relations"),
    [
        ("training", 1020, 25752, 13017, 4157),
        ("development", 612, 15567, 8004, 2416),
        ("test_gs", 800, 20828, 10810, 3458),
    ],
)
def test_chemprot_is_read_whole_without_a_mismatch(
    corpora: Path, split: str, notes: int, entities: int, chemicals: int, relations: int
) -> None:
    folder = corpora / "chemprot" / f"chemprot_{split}"
    found, report = read_chemprot(folder, load_labels("chemprot"))
    labels = Counter(entity.label for gold in found for entity in gold.annotation.entities)
    assert (len(found), labels.total(), labels["CHEMICAL"]) == (notes, entities, chemicals)
    assert sum(len(gold.annotation.relations) for gold in found) == relations
    assert set(report.counts) == {"overlapping"} and not report.problems
