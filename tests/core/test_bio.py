"""Words and BIO tags: what a tagger learns and what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.bio import decode, encode, legal, tag_names, words
from spanlake.core.types import Entity, Span, entity_at
from spanlake.errors import DataError

LABELS = ("problem", "GENE-Y")
TEXTS = st.text(alphabet="ab1 _-.\r\n\t\f\x0b\u00a0é\u0301İ🩺", max_size=40)


@st.composite
def texts_with_entities(draw: st.DrawFn) -> tuple[str, list[Entity]]:
    text = draw(TEXTS.filter(bool))
    ends = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))
    spans = [sorted(pair) for pair in draw(st.lists(ends, max_size=6)) if pair[0] != pair[1]]
    return text, [entity_at(text, a, b, draw(st.sampled_from(LABELS))) for a, b in spans]


def test_words_are_runs_of_word_characters_and_single_signs() -> None:
    text = "BP 120/80,\r\nno-one\u00a0İll 🩺"
    assert [text[w.start : w.end] for w in words(text)] == [
        *("BP", "120", "/", "80", ",", "no", "-", "one", "İll", "🩺")
    ]


@given(TEXTS)
def test_words_hold_every_character_that_is_not_space_exactly_once(text: str) -> None:
    inside = [i for word in words(text) for i in range(word.start, word.end)]
    assert inside == [i for i, character in enumerate(text) if not character.isspace()]


def test_tag_names_start_with_outside_and_keep_the_order_of_the_labels() -> None:
    assert tag_names(LABELS) == ("O", "B-problem", "I-problem", "B-GENE-Y", "I-GENE-Y")


@pytest.mark.parametrize(
    ("previous", "tag", "answer"),
    [
        ("O", "O", True),
        ("I-a", "O", True),
        ("O", "B-a", True),
        ("B-a", "B-a", True),
        ("B-a", "I-a", True),
        ("I-a", "I-a", True),
        ("O", "I-a", False),
        ("B-b", "I-a", False),
        ("I-b", "I-a", False),
        ("B-aa", "I-a", False),
    ],
)
def test_only_an_inside_tag_needs_its_own_label_before_it(
    previous: str, tag: str, answer: bool
) -> None:
    assert legal(previous, tag) is answer


def test_an_entity_that_cuts_words_is_widened_and_counted() -> None:
    text = "her headaches"
    encoded = encode(words(text), [entity_at(text, 1, 8, "problem")], LABELS)
    assert encoded.tags == ("B-problem", "I-problem")
    assert (encoded.widened, encoded.left_out) == (1, 0)


def test_of_overlapping_entities_the_longest_stays_then_the_first() -> None:
    text = "a b c d"
    short, long = entity_at(text, 0, 3, "problem"), entity_at(text, 2, 7, "GENE-Y")
    encoded = encode(words(text), [short, long], LABELS)
    assert encoded.tags == ("O", "B-GENE-Y", "I-GENE-Y", "I-GENE-Y")
    assert encoded.left_out == 1
    late = entity_at(text, 2, 5, "GENE-Y")
    assert encode(words(text), [late, short], LABELS).tags == ("B-problem", "I-problem", "O", "O")


def test_two_entities_on_one_word_leave_one_out() -> None:
    text = "calcium-dependent Ca2"
    halves = [entity_at(text, 18, 19, "problem"), entity_at(text, 19, 21, "problem")]
    encoded = encode(words(text), halves, LABELS)
    assert encoded.tags[-1] == "B-problem"
    assert (encoded.widened, encoded.left_out) == (1, 1)


def test_an_entity_of_white_space_only_is_left_out_and_labels_of_another_layer_are_not() -> None:
    text = "a  b"
    entities = [entity_at(text, 1, 3, "problem"), entity_at(text, 0, 1, "negation")]
    encoded = encode(words(text), entities, LABELS)
    assert encoded.tags == ("O", "O")
    assert encoded.left_out == 1


def test_an_inside_tag_after_outside_or_another_label_opens_an_entity() -> None:
    spans = words("a b c d")
    assert decode(spans, ["I-x", "O", "I-x", "I-y"]) == [
        (Span(0, 1), "x"),
        (Span(4, 5), "x"),
        (Span(6, 7), "y"),
    ]


def test_entities_that_touch_stay_apart() -> None:
    assert decode(words("a b"), ["B-x", "B-x"]) == [(Span(0, 1), "x"), (Span(2, 3), "x")]


def test_wrong_tags_and_wrong_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="1 tags for 2 words"):
        decode(words("a b"), ["O"])
    with pytest.raises(DataError, match="not a BIO tag"):
        decode(words("a"), ["problem"])


@given(texts_with_entities())
def test_a_round_trip_through_tags_keeps_whole_word_entities_and_cuts_no_word(
    case: tuple[str, list[Entity]],
) -> None:
    text, entities = case
    spans = words(text)
    encoded = encode(spans, entities, LABELS)
    found = decode(spans, encoded.tags)
    assert len(found) + encoded.left_out == len(entities)
    assert {s.start for s, _ in found} <= {w.start for w in spans}
    assert {s.end for s, _ in found} <= {w.end for w in spans}
    again = [entity_at(text, s.start, s.end, label) for s, label in found]
    assert encode(spans, again, LABELS).tags == encoded.tags
    assert encode(spans, reversed(entities), LABELS) == encoded
    kept = {entity.key for entity in entities} & {entity.key for entity in again}
    assert len(again) - encoded.widened <= len(kept) <= len(again)


@given(st.lists(st.sampled_from(tag_names(LABELS)), max_size=12))
def test_a_legal_path_comes_back_as_it_was(tags: list[str]) -> None:
    path: list[str] = []
    for tag in tags:
        path.append(tag if legal(path[-1] if path else "O", tag) else "O")
    text = "w " * len(path)
    spans = words(text)
    entities = [entity_at(text, s.start, s.end, label) for s, label in decode(spans, path)]
    assert list(encode(spans, entities, LABELS).tags) == path
