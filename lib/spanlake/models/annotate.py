"""Whole notes in one process: split, extract, merge. The Spark job does the same in three steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from spanlake.core.assertion_rules import RULES_VERSION
from spanlake.core.merging import NoteResult, merge
from spanlake.core.sentences import SPLITTER_VERSION, split
from spanlake.core.spans import Annotation, Entity, Relation
from spanlake.core.units import Note, Sentence, Unit, sha256, units_of
from spanlake.models import Extractor
from spanlake.models.guard import extract_safely

UNIT_VERSION = "1"


def pipeline_fingerprint(model_fingerprint: str, derive_version: str, context: int = 0) -> str:
    """Return the hash of all that can change a row: model, splitter, units, rules and derive."""
    unit = f"{UNIT_VERSION}+{context}" if context else UNIT_VERSION
    versions = (SPLITTER_VERSION, unit, RULES_VERSION, derive_version)
    return sha256("\x1f".join((model_fingerprint, *versions)))


def annotate(notes: Sequence[Note], extractor: Extractor, fingerprint: str) -> list[NoteResult]:
    """Return each note's result, in order; the notes' sentences are read in one call."""
    sentences = [split(note.note_text) for note in notes]
    units = [
        unit
        for note, own in zip(notes, sentences, strict=True)
        for unit in units_of(note.note_text, own, extractor.context)
    ]
    answers = iter(extract_safely(extractor, units))
    return [
        merge(note, own, list(islice(answers, len(own))), extractor.labels, fingerprint)
        for note, own in zip(notes, sentences, strict=True)
    ]


class Links(Protocol):
    """What relates given entities: an extractor, or a rule."""

    @property
    def context(self) -> int: ...

    def link(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]: ...


def link(note: Note, gold: Annotation, extractor: Links) -> Annotation:
    """Return the note's given entities with the relations that the extractor finds among them.

    Entities that a sentence boundary cuts can have no relation.
    """
    sentences = split(note.note_text)
    members = [_inside(gold.entities, sentence) for sentence in sentences]
    inputs = [
        [gold.entities[i].shift(-sentence.span.start) for i in own]
        for sentence, own in zip(sentences, members, strict=True)
    ]
    linked = extractor.link(units_of(note.note_text, sentences, extractor.context), inputs)
    relations = [
        Relation(own[r.head], own[r.tail], r.label, r.score)
        for own, found in zip(members, linked, strict=True)
        for r in found
    ]
    return Annotation(gold.entities, tuple(relations))


def _inside(entities: Sequence[Entity], sentence: Sentence) -> list[int]:
    return [i for i, entity in enumerate(entities) if sentence.span.contains(entity.span)]
