"""What stands around a target, in a tokenizer's pieces: read with it, never labelled."""

from __future__ import annotations

import re

from spanlake.core.types import Unit
from spanlake.models.tokenization import Pieces
from spanlake.models.windows import Cut

TOKEN = re.compile(r"\w+|[^\w\s]|\n")  # words, and the ends of lines: headers and lists show


def placed_sequences(
    one: Cut, unit: Unit, pieces: Pieces, limit: int
) -> list[tuple[list[int], slice]]:
    """Return each window's pieces as a model reads them, and where its own stand among them.

    A target of one window is read with as much around it as fits `limit`; a longer one is read
    with nothing around its windows but each other.
    """
    left: list[int] = []
    right: list[int] = []
    sequences = one.sequences()
    if len(sequences) == 1:
        left, right = surroundings(unit.left, unit.right, pieces, limit - len(sequences[0]))
    first = len(pieces.before) + len(left)
    return [
        (pieces.wrap([*left, *own, *right]), slice(first, first + len(own))) for own in sequences
    ]


def surroundings(left: str, right: str, pieces: Pieces, room: int) -> tuple[list[int], list[int]]:
    """Return the pieces left and right of a target, the nearest to it, at most `room` together.

    Each side has half of the room, and what the other does not need.
    """
    before, after = pieces_between(left, pieces), pieces_between(right, pieces)
    first = min(len(before), max(room // 2, room - len(after)))
    return before[len(before) - first :], after[: max(0, room - first)]


def pieces_between(text: str, pieces: Pieces) -> list[int]:
    """Return the pieces of a text's words; a line ends with the tokenizer's own end of text."""
    readable = text.encode("utf-8", "ignore").decode("utf-8")  # a lone surrogate is no character
    found = TOKEN.findall(readable)
    words = iter(pieces.of(one for one in found if one != "\n"))
    end_of_line = pieces.after[-1:]
    return [piece for one in found for piece in (end_of_line if one == "\n" else next(words))]
