from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.types import Span
from spanlake.scoring.matching import matching_size, overlapping_pairs

spans = st.builds(
    lambda start, length: Span(start, start + length), st.integers(0, 12), st.integers(1, 8)
)
side = st.lists(spans, max_size=5)


def matching_by_trying_all(pairs: set[tuple[int, int]], lefts: int, rights: int) -> int:
    """Give every left each right in turn; a left without a right left over goes without."""
    seats = [*range(rights), *[None] * lefts]
    return max(
        sum((left, right) in pairs for left, right in enumerate(order))
        for order in permutations(seats, lefts)
    )


@given(st.lists(spans, max_size=12), st.lists(spans, max_size=12))
def test_the_sweep_finds_the_overlaps_that_comparing_all_pairs_finds(left, right):
    naive = [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a.overlaps(b)]
    assert sorted(overlapping_pairs(left, right)) == naive


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_the_matching_is_as_large_as_trying_all_assignments(pairs):
    assert matching_size(pairs) == matching_by_trying_all(set(pairs), 4, 4)


@given(side, side)
def test_spans_match_as_many_as_trying_all_assignments(left, right):
    pairs = overlapping_pairs(left, right)
    assert matching_size(pairs) == matching_by_trying_all(set(pairs), len(left), len(right))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40).flatmap(
        lambda pairs: st.tuples(st.just(pairs), st.permutations(pairs))
    )
)
def test_the_size_does_not_depend_on_the_order_of_the_pairs(pairs_and_shuffled):
    pairs, shuffled = pairs_and_shuffled
    swapped = [(right, left) for left, right in pairs]
    assert matching_size(pairs) == matching_size(shuffled) == matching_size(swapped)


def test_touching_spans_do_not_overlap():
    assert overlapping_pairs([Span(0, 5)], [Span(5, 9)]) == []
    assert overlapping_pairs([Span(5, 9)], [Span(0, 5)]) == []
    assert overlapping_pairs([Span(0, 5)], [Span(4, 9)]) == [(0, 0)]


def test_a_first_match_is_moved_when_another_needs_its_partner():
    # First come, first served gives 0 to 0 and leaves 1 with nothing.
    assert matching_size([(0, 0), (0, 1), (1, 0)]) == 2


def test_a_search_that_failed_does_not_hide_partners_from_later_ones():
    assert matching_size([(0, 0), (1, 0), (2, 0), (2, 1), (3, 1), (3, 2)]) == 3


@pytest.mark.parametrize("step", [1, -1])
def test_a_chain_of_thousands_is_matched_throughout(step):
    # Each left span meets two rights; recursion along the chain would overflow the stack.
    lefts = [Span(10 * i, 10 * i + 6) for i in range(5000)][::step]
    rights = [Span(10 * i + 5, 10 * i + 11) for i in range(5000)]
    assert matching_size(overlapping_pairs(lefts, rights)) == 5000


def test_nothing_matches_nothing():
    assert overlapping_pairs([], [Span(0, 1)]) == []
    assert matching_size([]) == 0
