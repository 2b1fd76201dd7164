from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.bio import legal, tag_names
from spanlake.models.decoding import TagLattice

TAGS = tag_names(("x", "y"))
ALLOWED = np.array([[float(legal(one, other)) for other in TAGS] for one in TAGS])


def _all(probabilities: np.ndarray) -> dict[tuple[int, ...], float]:
    """Return every legal sequence with its probability, by brute force."""
    weights = {}
    for tags in itertools.product(range(len(TAGS)), repeat=len(probabilities)):
        if all(legal(TAGS[a], TAGS[b]) for a, b in itertools.pairwise((0, *tags))):
            weights[tags] = float(np.prod(probabilities[range(len(tags)), tags]))
    total = sum(weights.values())
    return {tags: weight / total for tags, weight in weights.items()}


def _spans(tags: tuple[int, ...]) -> set[tuple[int, int, int]]:
    names = [TAGS[tag] for tag in tags]
    starts = [i for i, name in enumerate(names) if name.startswith("B-")]
    found = set()
    for start in starts:
        end = start + 1
        while end < len(names) and names[end] == f"I-{names[start][2:]}":
            end += 1
        found.add((start, end, tags[start]))
    return found


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_probabilities_are_those_of_all_legal_sequences(seed: int, count: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.full(len(TAGS), 0.5), count)
    chain, everything = TagLattice(probabilities, ALLOWED), _all(probabilities)
    for tags, probability in everything.items():
        assert chain.sequence(tags) == pytest.approx(probability, abs=1e-9)
    for first, last in itertools.combinations(range(count + 1), 2):
        for begin in (1, 3):
            expected = sum(
                p for tags, p in everything.items() if (first, last, begin) in _spans(tags)
            )
            assert chain.span(first, last, begin, begin + 1) == pytest.approx(expected, abs=1e-9)


def test_a_thousand_words_do_not_underflow() -> None:
    probabilities = np.full((1000, len(TAGS)), 1 / len(TAGS))
    chain = TagLattice(probabilities, ALLOWED)
    assert 0 < chain.span(500, 502, 1, 2) < 1
    assert np.isfinite(chain.scale).all()


def test_a_text_without_a_legal_reading_of_any_weight_still_has_probabilities() -> None:
    only_inside = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])
    assert TagLattice(only_inside, ALLOWED).sequence([0]) == pytest.approx(1 / 3)
