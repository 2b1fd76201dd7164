"""What the linker is told of a pair besides the spans' vectors: labels, places, what is between.

Positions are words of the text; nothing here is learnt.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spanlake.core.labels import LabelSet
from spanlake.core.spans import Entity, Span

DISTANCES = (0, 1, 2, 3, 5, 8, 13)  # words between; the last bucket is open
MOST_BETWEEN = 3
MARKS = (",", ";", ".", ":", "(", ")", "-", "/", "and", "or", "no", "not", "but", "with", "for")
LINE_BREAK = len(MARKS)

WordSpan = tuple[int, int]  # first word, one past the last


def feature_count(labels: LabelSet) -> int:
    """Return the width of a row of `pair_features`."""
    places = 2 * (len(DISTANCES) + 1) + 1
    return len(_kinds(labels)) + places + 2 * (MOST_BETWEEN + 1) + 3 + 1 + len(MARKS) + 1


def _kinds(labels: LabelSet) -> list[tuple[str, str]]:
    return [(head, tail) for head, tails in labels.pairs.items() for tail in tails]


def word_spans(words: Sequence[Span], entities: Sequence[Entity]) -> list[WordSpan]:
    """Return the words that each entity covers, wholly or in part; an empty range covers none."""
    starts, ends = [word.start for word in words], [word.end for word in words]
    return [
        (bisect_left(ends, entity.start + 1), bisect_left(starts, entity.end))
        for entity in entities
    ]


def pair_features(
    text: str,
    words: Sequence[Span],
    entities: Sequence[Entity],
    pairs: Sequence[tuple[int, int]],
    labels: LabelSet,
) -> np.ndarray:
    """Return ``[pairs, features]`` of ones and zeros for (head, tail) positions in `entities`."""
    spans = word_spans(words, entities)
    told = [text[word.start : word.end].casefold() for word in words]
    breaks = ["\n" in text[a.end : b.start] for a, b in pairwise(words)]
    kinds = {pair: i for i, pair in enumerate(_kinds(labels))}
    rows = np.zeros((len(pairs), feature_count(labels)), dtype=np.float32)
    for row, (head, tail) in zip(rows, pairs, strict=True):
        place = 0
        for width, ones in _groups(head, tail, entities, spans, told, breaks, kinds, labels):
            row[[place + one for one in ones]] = 1.0
            place += width
    return rows


def _groups(head, tail, entities, spans, told, breaks, kinds, labels):  # type: ignore[no-untyped-def]
    """Yield the width of each group of features and which of them are one."""
    (hf, hl), (tf, tl) = spans[head], spans[tail]
    label = entities[tail].label
    gap = max(tf - hl, hf - tl)
    between = (hl, tf) if hl <= tf else (tl, hf)
    heads = [s for e, s in zip(entities, spans, strict=True) if labels.allows(e.label, label)]
    tails = [s for e, s in zip(entities, spans, strict=True) if e.label == label]
    yield len(kinds), [kinds[(entities[head].label, label)]]
    yield 2 * (len(DISTANCES) + 1) + 1, [_place(gap, tail_first=tf < hf)]
    for group in (heads, tails):
        yield MOST_BETWEEN + 1, [min(MOST_BETWEEN, _inside(group, between))]
    yield 3, [_other_side((hf, hl), (tf, tl), gap, heads)]
    yield (
        1,
        [0] * any(first < tl and tf < last and (first, last) != (hf, hl) for first, last in heads),
    )
    yield len(MARKS) + 1, _marks(between, told, breaks)


def _place(gap: int, *, tail_first: bool) -> int:
    if gap < 0:
        return 2 * (len(DISTANCES) + 1)
    bucket = bisect_left(DISTANCES, gap)
    return bucket + tail_first * (len(DISTANCES) + 1)


def _inside(spans: Sequence[WordSpan], between: WordSpan) -> int:
    return sum(between[0] <= first and last <= between[1] for first, last in spans)


def _other_side(head: WordSpan, tail: WordSpan, gap: int, heads: Sequence[WordSpan]) -> int:
    """Tell whether a head stands on the tail's other side: 0 none, 1 farther off, 2 nearer."""
    after = head[0] >= tail[0]
    gaps = [
        tail[0] - last if after else first - tail[1]
        for first, last in heads
        if (last <= tail[0] if after else first >= tail[1])
    ]
    return 0 if not gaps else 1 + (min(gaps) < gap)


def _marks(between: WordSpan, told: Sequence[str], breaks: Sequence[bool]) -> list[int]:
    first, last = between
    seen = set(told[first:last])
    found = [i for i, mark in enumerate(MARKS) if mark in seen]
    edge = any(breaks[max(first - 1, 0) : last])
    return [*found, LINE_BREAK] if edge and first <= last else found
