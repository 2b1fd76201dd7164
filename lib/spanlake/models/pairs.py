"""Which pairs of entities are asked about, and how a pair is shown to a model.

The head is wrapped as ``@ head $`` in the text, the tail as ``# tail ^``. Kiwi-BERT wraps both as
``@mention$`` (arXiv 2411.10020); a model cannot tell then which end is which, and learns slower.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from spanlake.core.bio import words
from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity, Span
from spanlake.models.tokenization import WordTokenizer

MARKS = (("@", "$"), ("#", "^"))  # around the head, around the tail
DEPTH = {sign: step for pair in MARKS for sign, step in zip(pair, (1, -1), strict=True)}
ELLIPSIS = "…"
MOST_GAPS = 3  # what is left out between four marks
# Words between a far-reaching modifier and its head: above any sentence that people write, low
# enough for a note of 60,000 characters without a full stop.
FAR_WORDS = 1000


def candidates(
    text_words: Sequence[Span], entities: Sequence[Entity], labels: LabelSet, most_words: int
) -> list[tuple[int, int]]:
    """Return the (head, tail) positions that the label set allows, at most `most_words` apart.

    The distance is the number of words between the two mentions; `text_words` are the text's. A
    tail whose label is in `labels.far_reaching` may stand `FAR_WORDS` away: a list of denied
    symptoms has no length of its own.
    """
    far = max(most_words, FAR_WORDS)
    reach = {name: far if name in labels.far_reaching else most_words for name in labels.labels}
    widest = max(reach.values(), default=most_words)
    starts = [word.start for word in text_words]
    spans = [(bisect_left(starts, e.start), bisect_left(starts, e.end)) for e in entities]
    order = sorted(range(len(spans)), key=lambda i: spans[i])
    firsts = [spans[i][0] for i in order]
    longest = max((last - first for first, last in spans), default=0)
    pairs = []
    for head, (first, last) in enumerate(spans):
        near = slice(
            bisect_left(firsts, first - widest - longest),
            bisect_right(firsts, last + widest),
        )
        pairs += [
            (head, tail)
            for tail in order[near]
            if tail != head
            and max(first - spans[tail][1], spans[tail][0] - last) <= reach[entities[tail].label]
            and labels.allows(entities[head].label, entities[tail].label)
        ]
    return sorted(pairs)


def pair_ids(
    text: str,
    text_words: Sequence[Span],
    pair: tuple[Span, Span],
    pieces: WordTokenizer,
    limit: int,
) -> list[int]:
    """Return the piece ids of the text with both mentions marked, at most `limit` of them.

    A longer text is cropped at words: the mentions stay, and what is nearest to them; an ellipsis
    stands for what is left out between two marks.
    """
    shown, marks = mark(*_around(text, text_words, pair, limit))
    ids = pieces.of(shown)
    gap = pieces.of([ELLIPSIS])[0]
    kept = crop([len(word_ids) for word_ids in ids], marks, limit, MOST_GAPS * len(gap))
    cropped: list[int] = []
    for before, position in zip([kept[0] - 1, *kept], kept, strict=False):
        cropped += gap if position > before + 1 else []
        cropped += ids[position]
    return cropped


def mark(text: str, pair: tuple[Span, Span]) -> tuple[list[str], dict[int, str]]:
    """Return the words of a text with both mentions marked, and the marks by their position.

    A mention that starts or ends inside a word cuts the word.
    """
    # at one place, what ends is closed before what starts is opened
    edges = sorted(
        (place, DEPTH[sign], sign)
        for span, signs in zip(pair, MARKS, strict=True)
        for place, sign in zip((span.start, span.end), signs, strict=True)
    )
    shown: list[str] = []
    marks: dict[int, str] = {}
    at = 0
    for place, _, sign in edges:
        shown += _texts(text[at:place])
        marks[len(shown)] = sign
        shown.append(sign)
        at = place
    return shown + _texts(text[at:]), marks


def crop(sizes: Sequence[int], marks: Mapping[int, str], limit: int, ellipses: int) -> list[int]:
    """Return which words to keep, in order: all where they fit `limit` pieces.

    Else first the mentions, then what is near to them, until only room for `ellipses` is left.
    """
    if sum(sizes) <= limit:
        return list(range(len(sizes)))
    opened = accumulate(DEPTH.get(marks.get(i, ""), 0) for i in range(len(sizes)))
    outside = [not depth and i not in marks for i, depth in enumerate(opened)]
    nearest = sorted(
        range(len(sizes)), key=lambda i: (outside[i], min(abs(i - place) for place in marks), i)
    )
    needed = accumulate(sizes[i] for i in nearest)
    fitting = sum(1 for total in needed if total <= limit - ellipses)
    return sorted(nearest[:fitting])


def _around(
    text: str, text_words: Sequence[Span], pair: tuple[Span, Span], reach: int
) -> tuple[str, tuple[Span, Span]]:
    """Return the text from `reach` words before the pair to as many after, and the pair in it."""
    start, end = min(span.start for span in pair), max(span.end for span in pair)
    first = bisect_left(text_words, start, key=lambda word: word.start) - reach
    last = bisect_left(text_words, end, key=lambda word: word.start) + reach
    offset = text_words[first].start if first > 0 else 0
    near = text[offset : text_words[last].start if last < len(text_words) else len(text)]
    return near, (pair[0].shift(-offset), pair[1].shift(-offset))


def _texts(text: str) -> list[str]:
    return [text[word.start : word.end] for word in words(text)]
