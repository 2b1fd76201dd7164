"""Negation, uncertainty and subject by rules, for forms that a sentence tagger does not learn.

A note is full of forms whose meaning is fixed: check boxes, YES/NO answers, "was ruled out" behind
a finding, "Patient denies:" above a list, a FAMILY HISTORY section. The rules go by cue words and
punctuation, as NegEx (Chapman et al., 2001) and ConText (Harkema et al., 2009) do, and by the
note's lines. They add a modifier at the cue, and a relation to it, where the model has related the
entity to no modifier of that label; what the model has found is never changed. Added rows have no
score.

Every form is a generator over a note: it yields cues, each with the entities that it governs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

from spanlake.core.assertion_rules.behind import behind
from spanlake.core.assertion_rules.boxes import answers, boxes, columns
from spanlake.core.assertion_rules.in_front import alternatives, in_front, lead_ins
from spanlake.core.assertion_rules.note_form import Cue, NoteForm, logical_lines
from spanlake.core.assertion_rules.relatives import relatives
from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Entity, Relation, Sentence, Span

RULES_VERSION = "3"  # raise when a rule could change a row of any note

FORMS: tuple[Callable[[NoteForm], Iterable[Cue]], ...] = (
    boxes,
    columns,
    answers,
    behind,
    in_front,
    alternatives,
    lead_ins,
    relatives,
)


def add_assertions(
    note_text: str,
    sentences: Sequence[Sentence],
    annotation: Annotation,
    index: Sequence[int],
    labels: LabelSet,
) -> tuple[Annotation, list[int]]:
    """Return the annotation with what the rules add, and the sentence that each entity stands in.

    `index` holds the sentence of every entity of `annotation`; added modifiers come after them.
    A cue may overlap a modifier of another label, which is the model's ("negative" as the value of
    a test). Time is linear in the length of the note.
    """
    if not labels.relations or not annotation.entities:
        return annotation, list(index)
    mains = [i for i, entity in enumerate(annotation.entities) if entity.label in labels.main]
    mains.sort(key=lambda i: annotation.entities[i].span)
    note = NoteForm(logical_lines(note_text, sentences), sentences, annotation.entities, mains)
    adding = _Adding(note_text, annotation, labels)
    for form in FORMS:
        for cue in form(note):
            adding.add(cue)
    starts = [sentence.span.start for sentence in sentences]
    added = adding.entities[len(annotation.entities) :]
    places = [max(0, bisect_right(starts, entity.start) - 1) for entity in added]
    return Annotation(tuple(adding.entities), tuple(adding.relations)), [*index, *places]


class _Adding:
    """Collects what is added: a modifier a cue, a relation an entity that has none of the label."""

    def __init__(self, note_text: str, annotation: Annotation, labels: LabelSet) -> None:
        self.note_text, self.labels = note_text, labels
        self.entities = list(annotation.entities)
        self.relations = list(annotation.relations)
        self._name = next(iter(labels.relations))
        self._known = {(r.head, annotation.entities[r.tail].label) for r in annotation.relations}
        self._cues: dict[str, list[tuple[Span, int]]] = {}
        for i, entity in enumerate(annotation.entities):
            self._cues.setdefault(entity.label, []).append((entity.span, i))
        for cues in self._cues.values():
            cues.sort()

    def add(self, cue: Cue) -> None:
        heads = [
            head
            for head in cue.heads
            if (head, cue.label) not in self._known
            and self.labels.allows(self.entities[head].label, cue.label)
            and not self.entities[head].span.overlaps(Span(cue.start, cue.end))
        ]
        if not heads:
            return
        tail = self._cue_entity(cue)
        for head in dict.fromkeys(heads):
            self._known.add((head, cue.label))
            self.relations.append(Relation(head, tail, self._name, None, by_rule=True))

    def _cue_entity(self, cue: Cue) -> int:
        """Return the modifier at the cue: one of its label that is there already, or a new one."""
        cues, span = self._cues.setdefault(cue.label, []), Span(cue.start, cue.end)
        at = bisect_left(cues, (span, -1))
        for known, i in cues[max(0, at - 1) : at + 1]:
            if known.overlaps(span):
                return i
        text = self.note_text[cue.start : cue.end]
        self.entities.append(Entity(span, cue.label, text, None, by_rule=True))
        cues.insert(at, (span, len(self.entities) - 1))
        return len(self.entities) - 1
