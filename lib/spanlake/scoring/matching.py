"""Which spans overlap, and how many pairs can be formed when each side is used once."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from spanlake.core.types import Span


def overlapping_pairs(left: Sequence[Span], right: Sequence[Span]) -> list[tuple[int, int]]:
    """Return the positions (in `left`, in `right`) of all spans that share a character.

    One sweep over the starts: time grows with the spans and the pairs found, not their product.
    """
    items = [(span.start, span.end, 0, i) for i, span in enumerate(left)]
    items += [(span.start, span.end, 1, i) for i, span in enumerate(right)]
    pairs: list[tuple[int, int]] = []
    open_spans: tuple[list[tuple[int, int]], ...] = ([], [])
    for start, end, side, i in sorted(items):
        # What stays open on the other side began no later and ends after this start: it overlaps.
        across = [(j, stop) for j, stop in open_spans[1 - side] if stop > start]
        open_spans[1 - side][:] = across
        pairs += [(i, j) if side == 0 else (j, i) for j, _ in across]
        open_spans[side].append((i, end))
    return pairs


def matching_size(pairs: Iterable[tuple[int, int]]) -> int:
    """Return the size of the largest one-to-one matching among (left, right) pairs.

    Augmenting paths (Berge 1957), searched breadth first. The size does not depend on the order
    of the pairs, though which pairs are matched may.
    """
    rights: dict[int, list[int]] = defaultdict(list)
    for left, right in pairs:
        rights[left].append(right)
    left_of: dict[int, int] = {}
    exhausted: set[int] = set()
    return sum(_augment(left, rights, left_of, exhausted) for left in rights)


def _augment(
    root: int, rights: Mapping[int, Sequence[int]], left_of: dict[int, int], exhausted: set[int]
) -> bool:
    """Match `root` by moving others along a path to a free right; tell whether there was one.

    What a failed search has reached can be on no later path (Hungarian tree) and is `exhausted`,
    so that all failed searches together look at each pair once.
    """
    came_from: dict[int, int] = {}
    via: dict[int, int] = {}  # a matched left, and the right that led to it
    queue = deque([root])
    while queue:
        left = queue.popleft()
        for right in rights[left]:
            if right in came_from or right in exhausted:
                continue
            came_from[right] = left
            if right not in left_of:
                _flip(right, came_from, via, left_of)
                return True
            via[left_of[right]] = right
            queue.append(left_of[right])
    exhausted.update(came_from)
    return False


def _flip(
    free: int, came_from: Mapping[int, int], via: Mapping[int, int], left_of: dict[int, int]
) -> None:
    """Give each left on the path the right that it was leaving for."""
    right: int | None = free
    while right is not None:
        left = came_from[right]
        left_of[right] = left
        right = via.get(left)
