"""The bundled notes and their gold: what the README beside them and docs/annotation.md promise."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from spanlake.core.labels import LAYERS, Layer, load_labels
from spanlake.core.types import Annotation, Entity
from spanlake.corpora import GoldNote, read_brat, write_ann

LABELS = load_labels("kiwi")
NESTED = {"bodyloc", "course", "severity"}
EMPTY, LONG = "25_clinic_empty", "26_icu_long_stay"
WORD = re.compile(r"\w+|[^\w\s]")
AWKWARD = {
    "CRLF": ("\r\n", ["08_lab_report_tables", "16_telephone_warfarin"]),
    "tab": ("\t", ["08_lab_report_tables", "11_consult_cardiology_letter"]),
    "form feed": ("\f", ["22_transfer_stroke_allcaps", "29_operative_hip_fracture"]),
    "vertical tab": ("\v", ["30_clinic_nephrology_transplant"]),
    "no-break space": ("\u00a0", ["11_consult_cardiology_letter"]),
    "zero-width space": ("\u200b", ["30_clinic_nephrology_transplant"]),
    "zero-width joiner": ("\u200d", ["20_portal_message_migraine"]),
    "emoji": ("\U0001f62d", ["20_portal_message_migraine"]),
    "combining accent": ("\u0301", ["18_paediatric_nf1_asthma"]),
    "dotted capital I": ("\u0130", ["11_consult_cardiology_letter"]),
    "astral letter": ("\U0001d6fd", ["30_clinic_nephrology_transplant"]),
}


@pytest.fixture(scope="module")
def gold(samples: Path) -> dict[str, GoldNote]:
    notes, report = read_brat(samples, LABELS)
    assert report.problems == []
    assert not report.counts
    return {note.note.note_id: note for note in notes}


def _of_layer(annotation: Annotation, layer: Layer) -> list[Entity]:
    found = [e for e in annotation.entities if LABELS.layer_of(e.label) == layer]
    return sorted(found, key=lambda e: (e.span, e.label))


def _tails(annotation: Annotation) -> set[int]:
    return {relation.tail for relation in annotation.relations}


def test_there_are_thirty_notes_and_all_are_utf8(samples: Path, gold: dict[str, GoldNote]) -> None:
    assert len(gold) == 30
    for path in samples.iterdir():
        path.read_bytes().decode("utf-8")


def test_one_note_is_empty_and_one_has_sixty_thousand_characters(
    gold: dict[str, GoldNote],
) -> None:
    assert gold[EMPTY].note.note_text == ""
    assert gold[EMPTY].annotation == Annotation()
    assert len(gold[LONG].note.note_text) == 60_000
    assert [name for name, note in gold.items() if not note.annotation.entities] == [EMPTY]


@pytest.mark.parametrize("kind", AWKWARD)
def test_the_awkward_characters_that_the_readme_names_occur(
    gold: dict[str, GoldNote], kind: str
) -> None:
    character, names = AWKWARD[kind]
    assert all(character in gold[name].note.note_text for name in names)


def test_crlf_notes_have_no_other_line_end(gold: dict[str, GoldNote]) -> None:
    for name in AWKWARD["CRLF"][1]:
        assert not re.search(r"(?<!\r)\n|\r(?!\n)", gold[name].note.note_text)


def test_the_gold_is_written_in_reading_order_with_plain_line_ends(
    samples: Path, gold: dict[str, GoldNote]
) -> None:
    for name, note in gold.items():
        stored = (samples / f"{name}.ann").read_bytes().decode("utf-8")
        assert stored == write_ann(note.annotation)
        spans = [entity.span for entity in note.annotation.entities]
        assert spans == sorted(spans)


@pytest.mark.parametrize("layer", LAYERS)
def test_no_entity_overlaps_another_of_its_layer(gold: dict[str, GoldNote], layer: Layer) -> None:
    for name, note in gold.items():
        for one, other in pairwise(_of_layer(note.annotation, layer)):
            assert not one.span.overlaps(other.span), (name, one.span, other.span)


def test_every_modifier_but_a_time_belongs_to_a_main(gold: dict[str, GoldNote]) -> None:
    for name, note in gold.items():
        tails = _tails(note.annotation)
        for index, entity in enumerate(note.annotation.entities):
            alone_is_fine = entity.label in {*LABELS.main, "temporal"}
            assert alone_is_fine or index in tails, (name, entity.span)


def test_only_place_course_and_severity_lie_inside_a_main(gold: dict[str, GoldNote]) -> None:
    for name, note in gold.items():
        mains = _of_layer(note.annotation, "main")
        for modifier in _of_layer(note.annotation, "modifier"):
            for main in mains:
                if main.span.overlaps(modifier.span):
                    assert modifier.label in NESTED, (name, modifier.span)
                    assert main.span.contains(modifier.span), (name, modifier.span)


def test_a_modifier_inside_a_main_belongs_to_it(gold: dict[str, GoldNote]) -> None:
    for name, note in gold.items():
        entities = note.annotation.entities
        linked = {(entities[r.head].span, entities[r.tail].span) for r in note.annotation.relations}
        for modifier in _of_layer(note.annotation, "modifier"):
            for main in _of_layer(note.annotation, "main"):
                if main.span.contains(modifier.span):
                    assert (main.span, modifier.span) in linked, (name, modifier.span)


def test_no_span_cuts_a_word_or_has_white_space_at_its_ends(gold: dict[str, GoldNote]) -> None:
    for name, note in gold.items():
        words = [word.span() for word in WORD.finditer(note.note.note_text)]
        starts, ends = {start for start, _ in words}, {end for _, end in words}
        for entity in note.annotation.entities:
            assert entity.start in starts and entity.end in ends, (name, entity.span)


def test_identical_lines_of_the_long_note_are_annotated_alike(gold: dict[str, GoldNote]) -> None:
    note = gold[LONG]
    found: dict[str, set[frozenset[tuple[object, ...]]]] = defaultdict(set)
    copies, start = 0, 0
    for line in note.note.note_text.split("\n"):
        copies += bool(line) and line in found
        found[line].add(_on_line(note.annotation, start, start + len(line)))
        start += len(line) + 1
    assert copies > 500
    assert all(len(kinds) == 1 for kinds in found.values())


def _on_line(annotation: Annotation, start: int, end: int) -> frozenset[tuple[object, ...]]:
    keys = {
        index: (entity.start - start, entity.end - start, entity.label)
        for index, entity in enumerate(annotation.entities)
        if start <= entity.start < end
    }
    relations = {(keys[r.head], keys.get(r.tail)) for r in annotation.relations if r.head in keys}
    return frozenset({*keys.values(), *relations})
