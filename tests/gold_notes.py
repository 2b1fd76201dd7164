"""Three gold notes of our own that a tiny model can learn by heart."""

from __future__ import annotations

from spanlake.core.types import Annotation, Note, Relation, entity_at
from spanlake.corpora import GoldNote


def gold_note(name: str, text: str, *parts: tuple[str, str], relations=()) -> GoldNote:
    """Make a gold note of the first places where `parts` stand in the text."""
    entities = tuple(
        entity_at(text, text.index(part), text.index(part) + len(part), label)
        for part, label in parts
    )
    linked = tuple(Relation(head, tail, "hasAttr") for head, tail in relations)
    return GoldNote(Note(name, text), Annotation(entities, linked))


NOTES = [
    gold_note(
        "a",
        "Patient denies chest pain. Metformin 500 mg twice daily.",
        ("denies", "negation"),
        ("chest pain", "problem"),
        ("Metformin", "drug"),
        ("500 mg", "strength"),
        ("twice daily", "frequency"),
        relations=[(1, 0), (2, 3), (2, 4)],
    ),
    gold_note(
        "b",
        "Mild left pleural effusion seen on chest x-ray.",
        ("Mild left pleural effusion", "problem"),
        ("Mild", "severity"),
        ("left", "bodyloc"),
        ("chest x-ray", "test"),
        relations=[(0, 1), (0, 2)],
    ),
    gold_note("c", ""),
]
