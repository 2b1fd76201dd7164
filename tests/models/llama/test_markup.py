"""Answer formats: every draft parses to what it marks, and nothing else is legal."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanlake.models.llama.markup import Answer, BioLines, Source, SpanMarkup, WordSpan

LABELS = ("problem", "test")
LESS, SLASH, MORE, END = 1, 2, 3, 0
NAMES = {"problem": 4, "test": 5}
OPENING = {label: (LESS, NAMES[label], MORE) for label in LABELS}
CLOSING = {label: (LESS, SLASH, NAMES[label], MORE) for label in LABELS}
TAB, NEWLINE = (6,), (7,)
TAGS = {
    "O": (8,),
    **{f"{b}-{label}": (i, NAMES[label]) for b, i in (("B", 9), ("I", 10)) for label in LABELS},
}
WORD_IDS = st.lists(st.integers(1, 14), min_size=1, max_size=3)  # 1 to 10 are ids of tags, too


@st.composite
def marked_sources(draw):
    """Words of one to three ids, those of tags among them, and entities without overlaps."""
    words = draw(st.lists(WORD_IDS, max_size=8))
    cuts = sorted(draw(st.sets(st.integers(0, len(words)), max_size=6)))
    entities = [
        WordSpan(first, end, draw(st.sampled_from(LABELS)))
        for first, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    return words, entities


def markup(words) -> SpanMarkup:
    return SpanMarkup(Source.of(words), OPENING, CLOSING, (END,))


def bio_lines(words) -> BioLines:
    return BioLines(tuple(map(tuple, words)), TAGS, TAB, NEWLINE, (END,))


def replayed(form, ids) -> Answer:
    answer = Answer(form)
    assert all(answer.step(token) for token in ids)
    return answer


@pytest.mark.parametrize("form", [markup, bio_lines])
@given(marked_sources())
@settings(max_examples=300)
def test_a_draft_marks_its_entities_and_ends(form, source):
    words, entities = source
    draft = Answer(form(words)).draft(entities)
    answer = replayed(form(words), draft)
    assert answer.done and answer.legal() == [] and answer.fault is None
    # a source with whole tags in it may be read otherwise, but never with other words
    if not {LESS} & {token for word in words for token in word} or form is bio_lines:
        assert list(answer.spans) == entities


@given(marked_sources())
def test_a_reading_among_those_of_an_ambiguous_answer_is_the_one_that_was_written(source):
    words, entities = source
    answer = replayed(markup(words), Answer(markup(words)).draft(entities))
    assert tuple(entities) in [state.spans for state in answer.states if state.done]


@pytest.mark.parametrize("form", [markup, bio_lines])
@given(marked_sources(), st.randoms(use_true_random=False))
def test_any_walk_along_legal_ids_can_be_completed(form, source, chance):
    words, entities = source
    answer = Answer(form(words))
    for _ in range(chance.randrange(40)):
        if answer.done:
            break
        assert answer.step(chance.choice(answer.legal()))
    reached = list(answer.ids)
    for token in answer.draft(entities) if not answer.done else []:
        assert token in answer.legal()
        assert answer.step(token)
    assert answer.done and answer.ids[: len(reached)] == reached
    ends = [span.end for span in answer.spans]
    assert all(span.first < span.end <= len(words) for span in answer.spans)
    assert all(end <= span.first for end, span in zip(ends, answer.spans[1:], strict=False))


@pytest.mark.parametrize("form", [markup, bio_lines])
@given(marked_sources())
def test_the_legal_ids_along_a_draft_hold_its_next_id(form, source):
    words, entities = source
    answer = Answer(form(words))
    draft = answer.draft(entities)
    along = answer.legal_along(draft)
    assert all(token in legal for token, legal in zip(draft, along, strict=False))
    assert along[-1] == [] and answer.ids == []
    assert max(map(len, along)) <= 8


def test_a_whole_tag_in_the_source_is_text():
    words = [[LESS], [NAMES["problem"]], [MORE], [11]]
    answer = replayed(markup(words), Answer(markup(words)).draft([WordSpan(3, 4, "test")]))
    assert answer.spans == (WordSpan(3, 4, "test"),)


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        ([12], "altered"),
        ([11, END], "truncated"),
        ([11, 12, 11], "repeated"),
        ([*OPENING["test"], 11, *OPENING["test"]], "nested"),
        ([LESS, 11], "unknown_tag"),
    ],
)
def test_an_illegal_output_is_classified(ids, fault):
    answer = Answer(markup([[11], [12]]))
    stepped = [answer.step(token) for token in ids]
    assert not stepped[-1]
    assert answer.fault == fault
    assert not answer.step(11), "nothing is legal after a fault"


def test_an_open_entity_is_closed_where_the_overlapping_entity_ends():
    words = [[11], [12], [13], [14]]
    answer = replayed(markup(words), [11, *OPENING["test"], 12])
    longer = replayed(markup(words), [*answer.ids, *answer.draft([WordSpan(0, 3, "problem")])])
    assert longer.spans == (WordSpan(1, 3, "test"),)
    shortest = replayed(markup(words), [*answer.ids, *answer.draft()])
    assert shortest.spans == (WordSpan(1, 2, "test"),)


def test_long_sources_are_read_in_linear_time():
    chance = random.Random(1)
    words = [[chance.randrange(11, 15)] for _ in range(3000)]
    assert replayed(markup(words), Answer(markup(words)).draft()).done
