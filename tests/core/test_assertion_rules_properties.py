"""Whatever a note and a model say, rules only add, at right offsets, and what the labels allow."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from spanlake.core.assertion_rules import add_assertions
from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Annotation, Entity, entity_at
from spanlake.text.sentences import split

PIECES = """no denies mother fever aspirin or , and vs ? : . ( [ ] [x] ☐ | - (-) YES NO N 0 ....
____ possible not~seen was~ruled~out family~history FH FAMILY~HISTORY: Patient~denies: r/o neg אב 😀
1.""".split()
BREAKS = [" ", "  ", "", "\n", "\r\n", "\t", "\f", "\xa0", "\u2028", "\n\n", "\ud83d", "\u202e"]
SETS = [load_labels(name) for name in ("kiwi", "chemprot", "phee", "bc5cdr")]


@st.composite
def _notes(draw: st.DrawFn) -> tuple[LabelSet, str, list[Entity]]:
    labels = draw(st.sampled_from(SETS))
    words = st.tuples(st.sampled_from(PIECES), st.sampled_from(BREAKS))
    text = "".join(one.replace("~", " ") + gap for one, gap in draw(st.lists(words, max_size=30)))
    entities, at = [], 0
    while at < len(text) and len(entities) < 8:
        start = draw(st.integers(at, min(len(text) - 1, at + 8)))
        at = draw(st.integers(start + 1, min(len(text), start + 10)))
        entities.append(entity_at(text, start, at, draw(st.sampled_from(list(labels.labels)))))
    return labels, text, entities


@settings(max_examples=200, deadline=None)
@given(_notes())
def test_rules_only_add_at_right_offsets_what_the_labels_allow(
    drawn: tuple[LabelSet, str, list[Entity]],
) -> None:
    labels, text, entities = drawn
    given_, sentences = Annotation(tuple(entities)), split(text)
    found, index = add_assertions(text, sentences, given_, [0] * len(entities), labels)
    found.check(text)
    assert found.without_rules() == given_ and len(index) == len(found.entities)
    for relation in found.relations:
        head, tail = found.entities[relation.head], found.entities[relation.tail]
        assert relation.by_rule and labels.allows(head.label, tail.label)
    assert add_assertions(text, sentences, found, index, labels) == (found, index)
