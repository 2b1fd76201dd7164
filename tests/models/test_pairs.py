from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Entity, Span, entity_at
from spanlake.models.pairs import candidates, crop, mark, pair_ids

KIWI = load_labels("kiwi")
SIGNS = "@$#^"


class Spelled:
    """Stands in for a tokenizer: a piece a letter, so that ids spell the text."""

    def of(self, texts: Iterable[str]) -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in texts]


def _shown(text: str, pair: tuple[Span, Span], limit: int) -> str:
    ids = pair_ids(text, words(text), pair, Spelled(), limit)  # type: ignore[arg-type]
    return "".join(map(chr, ids))


def _span(text: str, part: str) -> Span:
    return Span(text.index(part), text.index(part) + len(part))


def test_mentions_are_marked_in_the_text() -> None:
    text = "no chest pain"
    shown, marks = mark(text, (_span(text, "chest pain"), _span(text, "no")))
    assert shown == ["#", "no", "^", "@", "chest", "pain", "$"]
    assert marks == {0: "#", 2: "^", 3: "@", 6: "$"}


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        ("left lung mass", "left", "# @ left ^ lung mass $ seen"),
        ("left", "left lung mass", "# @ left $ lung mass ^ seen"),
        ("left lung mass", "lung", "@ left # lung ^ mass $ seen"),
        ("left lung mass", "left lung mass", "# @ left lung mass $ ^ seen"),
        ("left lung", "lung mass", "@ left # lung $ mass ^ seen"),
        ("left", "ung ma", "@ left $ l # ung ma ^ ss seen"),
        ("left lung ", "mass", "@ left lung $ # mass ^ seen"),
    ],
)
def test_nested_touching_and_cutting_mentions_are_marked(head, tail, expected) -> None:
    text = "left lung mass seen"
    shown, _ = mark(text, (_span(text, head), _span(text, tail)))
    assert " ".join(shown) == expected


def test_a_long_text_is_cropped_around_both_mentions() -> None:
    text = "a b c d e f MASS g h i j k l m n o p LUNG q r s t u v"
    pair = _span(text, "MASS"), _span(text, "LUNG")
    assert _shown(text, pair, 100) == "abcdef@MASS$ghijklmnop#LUNG^qrstuv"
    assert _shown(text, pair, 26) == "def@MASS$ghi…nop#LUNG^qr"
    assert _shown(text, pair, 12) == "@MASS$…#…^"


@st.composite
def marked_texts(draw: st.DrawFn) -> tuple[str, tuple[Span, Span], int]:
    text = draw(st.text(alphabet="ab \n.", min_size=1, max_size=120))
    cuts = st.integers(0, len(text))
    spans = [sorted(draw(st.tuples(cuts, cuts).filter(lambda c: c[0] != c[1]))) for _ in range(2)]
    return text, (Span(*spans[0]), Span(*spans[1])), draw(st.integers(8, 200))


@given(marked_texts())
def test_a_pair_always_fits_and_keeps_its_four_marks(case) -> None:
    text, pair, limit = case
    shown = _shown(text, pair, limit)
    assert len(shown) <= limit
    assert [c for c in shown if c in SIGNS] == [c for c in mark(text, pair)[0] if c in SIGNS]
    letters = "".join(text.split())
    if len(letters) + 4 <= limit:
        assert "".join(c for c in shown if c not in SIGNS) == letters


def test_mentions_are_kept_before_what_is_around_them() -> None:
    marks = {5: "@", 8: "$", 12: "#", 15: "^"}
    assert crop([1] * 20, marks, 13, 3) == [4, 5, 6, 7, 8, 9, 12, 13, 14, 15]
    assert crop([1] * 20, marks, 20, 3) == list(range(20))


LABELS = ("problem", "test", "drug", "negation", "labvalue", "route")


@given(
    st.lists(
        st.tuples(st.integers(0, 39), st.integers(1, 4), st.sampled_from(LABELS)), max_size=12
    ),
    st.integers(0, 40),
)
def test_candidates_are_the_allowed_pairs_within_reach(drawn, most: int) -> None:
    text = "x " * 44
    entities = [entity_at(text, 2 * a, 2 * (a + n) - 1, label) for a, n, label in drawn]

    def gap(one: Entity, other: Entity) -> int:
        left, right = sorted((one, other), key=lambda e: e.start)
        return max(0, (right.start - left.end) // 2)

    expected = [
        (h, t)
        for h, head in enumerate(entities)
        for t, tail in enumerate(entities)
        if h != t
        and KIWI.allows(head.label, tail.label)
        and (tail.label in KIWI.far_reaching or gap(head, tail) <= most)
    ]
    assert candidates(words(text), entities, KIWI, most) == expected


def test_a_list_after_a_cue_has_no_length_of_its_own() -> None:
    text = "denies " + ", ".join(["cough"] * 200) + " now"
    cough = [entity_at(text, m.start(), m.end(), "problem") for m in re.finditer("cough", text)]
    cue = entity_at(text, 0, 6, "negation")
    pairs = candidates(words(text), [*cough, cue], KIWI, 20)
    assert pairs == [(i, 200) for i in range(200)]
    place = entity_at(text, 0, 6, "bodyloc")
    assert len(candidates(words(text), [*cough, place], KIWI, 20)) == 11
