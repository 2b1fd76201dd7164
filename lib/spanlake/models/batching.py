"""Token-budget batches of sequences of like length: little padding, order restored.

What a sequence is given does not depend on the batch that it travels in, to float tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import TypeVar

import numpy as np

from spanlake.models.stats import Stats

Answer = TypeVar("Answer")
Item = TypeVar("Item", bound=Sized)
Tokens = Sequence[int]


def plan_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group the positions of `lengths`, longest first, so that padded batches fit `budget` tokens.

    A sequence longer than the budget travels alone, and none with one a third longer than itself.
    Longest first, so that a batch that does not fit the memory shows at once.
    """
    batches: list[list[int]] = []
    longest = room = 0
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not room or 4 * lengths[position] < 3 * longest:
            batches.append([])
            longest = lengths[position]
            room = max(1, budget // max(1, longest))
        batches[-1].append(position)
        room -= 1
    return batches


def pad(batch: Sequence[Tokens], filler: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``[batch, longest]`` numbers padded on the right, and the mask of what is real."""
    longest = max(len(tokens) for tokens in batch)
    padded = np.full((len(batch), longest), filler, dtype=np.int64)
    mask = np.zeros((len(batch), longest), dtype=np.int64)
    for row, tokens in enumerate(batch):
        padded[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return padded, mask


def run_batched(
    sequences: Sequence[Item],
    forward: Callable[[Sequence[Item]], Sequence[Answer]],
    *,
    budget: int,
    stats: Stats,
    out_of_memory: type[BaseException] = MemoryError,
) -> list[Answer]:
    """Return ``forward``'s answer to every sequence, in the order of `sequences`.

    A batch that raises `out_of_memory` is halved until it fits; one sequence that does not fit
    raises. Counts batches, tokens and splits in `stats`.
    """
    answers: dict[int, Answer] = {}
    waiting = plan_batches([len(sequence) for sequence in sequences], budget)[::-1]
    while waiting:
        batch = waiting.pop()
        given = _try(forward, [sequences[i] for i in batch], out_of_memory)
        if given is None:
            stats.oom_splits += 1
            middle = len(batch) // 2
            waiting += [batch[middle:], batch[:middle]]
            continue
        answers.update(zip(batch, given, strict=True))
        _count(stats, [len(sequences[i]) for i in batch])
    return [answers[i] for i in range(len(sequences))]


def _try(
    forward: Callable[[Sequence[Item]], Sequence[Answer]],
    batch: Sequence[Item],
    out_of_memory: type[BaseException],
) -> Sequence[Answer] | None:
    """Return None for lack of memory; by then the failed pass's tensors are let go."""
    try:
        return forward(batch)
    except out_of_memory:
        if len(batch) == 1:
            raise
        return None


def _count(stats: Stats, lengths: list[int]) -> None:
    stats.batches += 1
    stats.tokens += sum(lengths)
    stats.padded_tokens += max(lengths) * len(lengths)
