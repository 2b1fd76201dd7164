"""Overlapping windows over a text too long for a model, cut at words, and their scores merged.

A window is a half-open range of word positions. Every word is read in the window where it stands
farthest from a cut edge, so nothing is lost or doubled at a seam.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np

from spanlake.core.types import Span, Unit
from spanlake.models.tokenization import WordTokenizer

TOKEN = re.compile(r"\w+|[^\w\s]|\n")  # words, and the ends of lines: headers and lists show

Window = tuple[int, int]


def plan_windows(sizes: Sequence[int], limit: int, overlap: int) -> list[Window]:
    """Cover words of `sizes` pieces by windows of at most `limit` pieces.

    Neighbours share at most `overlap` pieces, as many as whole words allow. No size may exceed
    `limit`. No words, no windows.
    """
    before = list(accumulate(sizes, initial=0))  # pieces before each word, and in all
    count, first = len(sizes), 0
    windows: list[Window] = []
    while count:
        last = bisect_right(before, before[first] + limit) - 1
        windows.append((first, last))
        if last == count:
            break
        # the next window must hold at least the word that this one had no room for
        first = bisect_left(before, max(before[last] - overlap, before[last + 1] - limit))
    return windows


def owners(windows: Sequence[Window]) -> np.ndarray:
    """Return for each word the position of the window it is read in; of equal ones the first.

    The edges of the text are no cuts: there is nothing beyond them that a model should see.
    """
    count = windows[-1][1] if windows else 0
    owner = np.zeros(count, dtype=np.int64)
    best = np.full(count, -1.0)
    for position, (first, last) in enumerate(windows):
        words = np.arange(first, last)
        left = words - first if first else np.full(len(words), np.inf)
        right = last - 1 - words if last < count else np.full(len(words), np.inf)
        distance = np.minimum(left, right)
        closer = words[distance > best[first:last]]
        owner[closer] = position
        best[first:last] = np.maximum(best[first:last], distance)
    return owner


def merge_windows(windows: Sequence[Window], scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return one row of scores a word from each window's rows, by `owners`."""
    owner = owners(windows)
    rows = [
        window_scores[owner[first:last] == position]
        for position, ((first, last), window_scores) in enumerate(zip(windows, scores, strict=True))
    ]
    return np.concatenate(rows)


@dataclass(frozen=True, slots=True)
class Cut:
    """A text as a model reads it: each word's piece ids, and windows over the words.

    `unseen` counts the characters at the ends of words that alone overflow a window. With
    `read_last` a word is read at its last subword: a causal layer has not seen it at its first.
    """

    pieces: list[list[int]]
    windows: list[Window]
    unseen: int
    read_last: bool = False

    def places(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Return the sizes of a window's words, and where among its subwords each is read."""
        sizes = np.array([len(ids) for ids in self.pieces[window[0] : window[1]]], dtype=np.int64)
        return sizes, np.cumsum(sizes) - (1 if self.read_last else sizes)

    def sequences(self) -> list[list[int]]:
        """Return the piece ids of every window."""
        return [list(chain.from_iterable(self.pieces[a:b])) for a, b in self.windows]

    def merge(self, window_rows: Sequence[np.ndarray]) -> np.ndarray:
        """Return one row a word from each window's rows of subwords.

        Rows of words without subwords are zeros.
        """
        by_word = []
        for window, rows in zip(self.windows, window_rows, strict=True):
            sizes, places = self.places(window)
            scores = np.zeros((len(sizes), rows.shape[1]), dtype=rows.dtype)
            scores[sizes > 0] = rows[places[sizes > 0]]
            by_word.append(scores)
        return merge_windows(self.windows, by_word)


def cut(text: str, words: Sequence[Span], pieces: WordTokenizer, *, limit: int, stride: int) -> Cut:
    """Cut a text's words into pieces and windows of at most `limit` pieces that share `stride`."""
    texts = [text[word.start : word.end] for word in words]
    ids = pieces.of(texts)
    long = [word for word, word_pieces in zip(texts, ids, strict=True) if len(word_pieces) > limit]
    fitting = [word_pieces[:limit] for word_pieces in ids]
    return Cut(
        fitting,
        plan_windows([len(word_pieces) for word_pieces in fitting], limit, min(stride, limit // 2)),
        sum(len(word) - pieces.characters_in(word, limit) for word in long),
        pieces.of_decoder,
    )


def add_context(
    text_cut: Cut, unit: Unit, pieces: WordTokenizer, limit: int
) -> list[tuple[list[int], slice]]:
    """Return each window's pieces as a model reads them, and where its own stand among them.

    A target of one window is read with as much around it as fits `limit`; a longer one is read
    with nothing around its windows but each other.
    """
    left: list[int] = []
    right: list[int] = []
    sequences = text_cut.sequences()
    if len(sequences) == 1:
        left, right = context_around(unit.left, unit.right, pieces, limit - len(sequences[0]))
    first = len(pieces.before) + len(left)
    return [
        (pieces.wrap([*left, *ids, *right]), slice(first, first + len(ids))) for ids in sequences
    ]


def context_around(
    left: str, right: str, pieces: WordTokenizer, room: int
) -> tuple[list[int], list[int]]:
    """Return the pieces left and right of a target, the nearest to it, at most `room` together.

    Each side has half of the room, and what the other does not need.
    """
    before, after = context_tokens(left, pieces), context_tokens(right, pieces)
    first = min(len(before), max(room // 2, room - len(after)))
    return before[len(before) - first :], after[: max(0, room - first)]


def context_tokens(text: str, pieces: WordTokenizer) -> list[int]:
    """Return the pieces of a text's words; a line ends with the tokenizer's own end of text."""
    readable = text.encode("utf-8", "ignore").decode("utf-8")  # a lone surrogate is no character
    parts = TOKEN.findall(readable)
    words = iter(pieces.of(part for part in parts if part != "\n"))
    end_of_line = pieces.after[-1:]
    return [piece for part in parts for piece in (end_of_line if part == "\n" else next(words))]
