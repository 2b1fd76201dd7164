from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.models.batching import pad, plan_batches, run_batched
from spanlake.models.stats import Stats

lengths_and_budget = st.tuples(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 200))


@given(lengths_and_budget)
def test_every_sequence_is_in_one_batch_and_padded_batches_fit_the_budget(case) -> None:
    lengths, budget = case
    batches = plan_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_sequences_of_like_length_travel_together() -> None:
    assert plan_batches([1, 9, 1, 9], 18) == [[1, 3], [0, 2]]


@given(st.lists(st.integers(0, 300), max_size=80))
def test_no_more_than_a_quarter_of_a_batch_is_padding(lengths) -> None:
    for batch in plan_batches(lengths, 100_000):
        own = [lengths[i] for i in batch]
        assert 4 * sum(own) >= 3 * max(own) * len(own)


@given(lengths_and_budget)
def test_answers_come_back_in_the_order_of_the_sequences(case) -> None:
    lengths, budget = case
    sequences = [[i] * length for i, length in enumerate(lengths)]
    stats = Stats()
    answers = run_batched(sequences, lambda batch: batch, budget=budget, stats=stats)
    assert answers == sequences
    assert stats.tokens == sum(lengths) <= stats.padded_tokens
    assert stats.batches == len(plan_batches(lengths, budget))


@given(st.integers(1, 30), st.integers(1, 8))
def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits(count: int, fitting: int) -> None:
    def forward(batch):
        if len(batch) > fitting:
            raise MemoryError
        return [sum(sequence) for sequence in batch]

    stats = Stats()
    answers = run_batched([[i] for i in range(count)], forward, budget=1000, stats=stats)
    assert answers == list(range(count))
    assert (stats.oom_splits > 0) == (count > fitting)
    assert stats.tokens == count


def test_one_sequence_too_large_for_the_memory_raises() -> None:
    def forward(batch):
        raise MemoryError

    with pytest.raises(MemoryError):
        run_batched([[1], [2]], forward, budget=10, stats=Stats())


def test_padding_is_on_the_right_and_masked() -> None:
    ids, mask = pad([[5, 6], [7]], 9)
    assert np.array_equal(ids, [[5, 6], [7, 9]])
    assert np.array_equal(mask, [[1, 1], [1, 0]])
