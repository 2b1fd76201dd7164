"""Put a note's extractions back together: what the tables and the `.ann` files say of it.

Pure functions, shared by the Spark job's derive step, the SQL function and the command line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from spanlake.core.assertion_rules import add_assertions
from spanlake.core.assertions import Assertion, assertions
from spanlake.core.cleaning import clean
from spanlake.core.labels import LabelSet
from spanlake.core.types import BLANK, Annotation, Entity, Extraction, Note, Relation, Sentence
from spanlake.errors import DataError

State = Literal["done", "empty", "failed", "quarantined"]
DERIVE_VERSION = "2"  # raise by hand when the rows of an unchanged note would change


@dataclass(frozen=True, slots=True)
class EntityRow:
    """One row of `entities`, without the columns that all rows of its note share."""

    entity_id: str
    sentence_index: int
    section: str
    layer: str
    label: str
    text: str
    start: int
    end: int
    score: float | None
    source: str
    negated: bool | None
    uncertain: bool | None
    subject: str | None
    alignment: str


@dataclass(frozen=True, slots=True)
class RelationRow:
    """One row of `relations`, without the columns that all rows of its note share."""

    relation_id: str
    head_entity_id: str
    tail_entity_id: str
    label: str
    score: float | None
    source: str
    head_label: str
    head_text: str
    head_start: int
    head_end: int
    tail_label: str
    tail_text: str
    tail_start: int
    tail_end: int
    same_sentence: bool


@dataclass(frozen=True, slots=True)
class NoteResult:
    """All that is known of one note: its rows, its state, and how much of it was read.

    `failed` notes are planned again; `quarantined` ones hold text that cannot be read, and keep
    what could be. `chars_seen` is `chars` less the characters of sentences that no model saw,
    `confidences` are the extractions', one a sentence. `annotation` holds what the rules have
    added too; `dropped` counts what was left out of the model's answers, by reason.
    """

    state: State
    chars: int
    chars_seen: int
    annotation: Annotation
    entities: tuple[EntityRow, ...] = ()
    relations: tuple[RelationRow, ...] = ()
    error_class: str | None = None
    reason: str | None = None
    confidences: tuple[float | None, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


def merge(
    note: Note,
    sentences: Sequence[Sentence],
    extractions: Sequence[Extraction],
    labels: LabelSet,
    pipeline_fingerprint: str,
) -> NoteResult:
    """Merge one extraction per sentence into the note's result; every offset is checked.

    The model's answers are cleaned of bullets and table marks (`core.cleaning`), and rules add
    negation, uncertainty and subject where the form of the note states them
    (`core.assertion_rules`).

    A note with a `transient` extraction is `failed` and has no rows, so that a later plan can
    write them; one with an `unreadable` extraction is `quarantined` and keeps the other rows.
    """
    if len(sentences) != len(extractions):
        raise ValueError(f"{len(sentences)} sentences but {len(extractions)} extractions")
    if not sentences and note.note_text.strip(BLANK):
        raise DataError(f"note {note.note_id} has text but no sentences")
    chars = len(note.note_text)
    seen = chars - sum(_unseen(s, e) for s, e in zip(sentences, extractions, strict=True))
    state, error_class, reason = _state(sentences, extractions)
    if state in ("empty", "failed"):
        return NoteResult(state, chars, seen, Annotation(), (), (), error_class, reason)
    answers, index, undecided = _annotation(sentences, extractions)
    cleaned = clean(note.note_text, answers, index, undecided, labels)
    annotation, places = add_assertions(
        note.note_text, sentences, cleaned.annotation, cleaned.index, labels
    )
    annotation.check(note.note_text)
    entity_assertions = assertions(annotation, labels, cleaned.undecided)
    sha256 = note.text_sha256
    rows = _Rows(
        note, sentences, annotation, entity_assertions, places, labels, pipeline_fingerprint, sha256
    )
    return NoteResult(
        state,
        chars,
        seen,
        annotation,
        rows.entities(),
        rows.relations(),
        error_class,
        reason,
        tuple(extraction.confidence for extraction in extractions),
        cleaned.dropped,
    )


def _unseen(sentence: Sentence, extraction: Extraction) -> int:
    return sentence.span.end - sentence.span.start - extraction.chars_seen


def _state(
    sentences: Sequence[Sentence], extractions: Sequence[Extraction]
) -> tuple[State, str | None, str | None]:
    bad = [e for e in extractions if e.outcome != "ok"]
    if not bad:
        return ("done" if sentences else "empty"), None, None
    transient = [e for e in bad if e.outcome == "transient"]
    first = (transient or bad)[0]
    reason = f"{len(bad)} of {len(extractions)} units: {first.reason or first.outcome}"
    return ("failed" if transient else "quarantined"), first.error_class, reason


def _annotation(
    sentences: Sequence[Sentence], extractions: Sequence[Extraction]
) -> tuple[Annotation, list[int], list[Relation]]:
    """Return the note-absolute annotation, each entity's sentence, and the undecided relations."""
    entities: list[Entity] = []
    relations: list[Relation] = []
    undecided: list[Relation] = []
    index: list[int] = []
    for number, (sentence, extraction) in enumerate(zip(sentences, extractions, strict=True)):
        first = len(entities)
        entities += [entity.shift(sentence.span.start) for entity in extraction.entities]
        index += [number] * len(extraction.entities)
        relations += [_moved(relation, first) for relation in extraction.relations]
        undecided += [_moved(relation, first) for relation in extraction.undecided]
    return Annotation(tuple(entities), tuple(relations)), index, undecided


def _moved(relation: Relation, by: int) -> Relation:
    return replace(relation, head=by + relation.head, tail=by + relation.tail)


@dataclass(frozen=True, slots=True)
class _Rows:
    note: Note
    sentences: Sequence[Sentence]
    annotation: Annotation
    assertions: Sequence[Assertion]
    index: Sequence[int]
    labels: LabelSet
    fingerprint: str
    text_sha256: str

    def entities(self) -> tuple[EntityRow, ...]:
        numbered = enumerate(zip(self.annotation.entities, self.assertions, strict=True))
        return tuple(self._entity(i, entity, assertion) for i, (entity, assertion) in numbered)

    def _entity(self, i: int, entity: Entity, assertion: Assertion) -> EntityRow:
        return EntityRow(
            entity_id=self._entity_id(entity),
            sentence_index=self.index[i],
            section=self.sentences[self.index[i]].section,
            layer=self.labels.layer_of(entity.label),
            label=entity.label,
            text=entity.text,
            start=entity.start,
            end=entity.end,
            score=entity.score,
            source=source_of(entity),
            negated=assertion.negated,
            uncertain=assertion.uncertain,
            subject=assertion.subject,
            alignment="exact",
        )

    def relations(self) -> tuple[RelationRow, ...]:
        return tuple(self._relation(relation) for relation in self.annotation.relations)

    def _relation(self, relation: Relation) -> RelationRow:
        head = self.annotation.entities[relation.head]
        tail = self.annotation.entities[relation.tail]
        ids = self._entity_id(head), self._entity_id(tail)
        return RelationRow(
            relation_id=_row_id(*ids, relation.label),
            head_entity_id=ids[0],
            tail_entity_id=ids[1],
            label=relation.label,
            score=relation.score,
            source=source_of(relation),
            head_label=head.label,
            head_text=head.text,
            head_start=head.start,
            head_end=head.end,
            tail_label=tail.label,
            tail_text=tail.text,
            tail_start=tail.start,
            tail_end=tail.end,
            same_sentence=self.index[relation.head] == self.index[relation.tail],
        )

    def _entity_id(self, entity: Entity) -> str:
        layer = self.labels.layer_of(entity.label)
        key = (self.note.note_id, self.text_sha256, entity.start, entity.end)
        return _row_id(*key, layer, entity.label, self.fingerprint)


def source_of(row: Entity | Relation) -> str:
    """Return the column `source` of an entity or relation."""
    return "rule" if row.by_rule else "model"


def _row_id(*parts: object) -> str:
    """Return the first 32 hex digits of a SHA-256 over what makes a row: the same at every run."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]
