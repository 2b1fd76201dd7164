from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.bio import tag_names
from spanlake.models.decoding import best_path
from spanlake.models.windows import merge_windows, owners, plan_windows


@st.composite
def texts(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Sizes of a text's words, a limit that every word fits, and an overlap."""
    limit = draw(st.integers(2, 20))
    sizes = draw(st.lists(st.integers(0, limit), max_size=60))
    return sizes, limit, draw(st.integers(0, limit // 2))


@given(texts())
def test_windows_cover_every_word_in_order_and_none_is_too_large(text) -> None:
    sizes, limit, overlap = text
    windows = plan_windows(sizes, limit, overlap)
    assert {word for a, b in windows for word in range(a, b)} == set(range(len(sizes)))
    assert all(sum(sizes[a:b]) <= limit for a, b in windows)
    assert all(a < c <= b < d for (a, b), (c, d) in itertools.pairwise(windows))


@given(texts())
def test_neighbouring_windows_share_as_much_as_fits(text) -> None:
    sizes, limit, overlap = text
    windows = plan_windows(sizes, limit, overlap)
    for (_, end), (start, _) in itertools.pairwise(windows):
        assert sum(sizes[start:end]) <= overlap
        one_more = sum(sizes[start - 1 : end])
        assert one_more > overlap or one_more + sizes[end] > limit


@given(texts())
def test_a_word_is_read_once_and_where_it_is_farthest_from_a_cut(text) -> None:
    sizes, limit, overlap = text
    windows = plan_windows(sizes, limit, overlap)
    owner = owners(windows)
    count = len(sizes)
    assert len(owner) == count

    def distance(word: int, window: tuple[int, int]) -> float:
        a, b = window
        return min(word - a if a else np.inf, b - 1 - word if b < count else np.inf)

    for word in range(count):
        mine = windows[owner[word]]
        assert mine[0] <= word < mine[1]
        others = [w for w in windows if w[0] <= word < w[1]]
        assert distance(word, mine) == max(distance(word, w) for w in others)


@given(texts())
def test_merging_the_windows_of_a_scorer_without_context_gives_the_scores_of_one_window(
    text,
) -> None:
    sizes, limit, overlap = text
    whole = np.random.default_rng(len(sizes)).random((len(sizes), 3))
    windows = plan_windows(sizes, limit, overlap)
    if sizes:
        merged = merge_windows(windows, [whole[a:b] for a, b in windows])
        assert np.array_equal(merged, whole)


@given(st.integers(1, 40), st.integers(1, 12))
def test_an_entity_on_a_seam_is_found_once_and_whole(start: int, length: int) -> None:
    tags = tag_names(["problem"])
    gold = ["O"] * 60
    gold[start : start + length] = ["B-problem"] + ["I-problem"] * (length - 1)
    scores = np.array([[float(tag == mine) for tag in tags] for mine in gold])
    windows = plan_windows([1] * 60, 10, 4)
    merged = merge_windows(windows, [scores[a:b] for a, b in windows])
    steps = np.zeros((3, 3))
    assert [tags[t] for t in best_path(np.log(merged + 1e-9), steps)] == gold


def test_the_edges_of_a_text_are_no_cuts() -> None:
    windows = plan_windows([1] * 16, 10, 4)
    assert windows == [(0, 10), (6, 16)]
    assert owners(windows).tolist() == [0] * 8 + [1] * 8


def test_no_words_have_no_windows() -> None:
    assert plan_windows([], 10, 4) == []
    assert owners([]).tolist() == []
