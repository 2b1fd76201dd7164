"""Words of a text, and BIO tags on them: how spans become what a tagger learns, and back.

Words are what is labelled and decoded, so no decoded span starts or ends inside one. A tag
sequence is flat: one call serves one layer.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spanlake.core.types import Entity, Span
from spanlake.errors import DataError

OUTSIDE = "O"
WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Encoded:
    """BIO tags, one a word, and what could not be written down faithfully.

    `widened` counts entities that did not sit on word boundaries and were moved to whole words;
    `left_out` those that got no tags: they overlap a kept entity, or cover no word.
    """

    tags: tuple[str, ...]
    widened: int = 0
    left_out: int = 0


def words(text: str) -> list[Span]:
    """Return the text's words in order: runs of word characters, and single other characters."""
    return [Span(match.start(), match.end()) for match in WORD.finditer(text)]


def tag_names(labels: Iterable[str]) -> tuple[str, ...]:
    """Return every tag over `labels`: ``O``, then ``B-`` and ``I-`` of each label in order."""
    return (OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in "BI"))


def legal(previous: str, tag: str) -> bool:
    """Tell whether `tag` may follow `previous`; the tag before the first word is ``O``."""
    return not tag.startswith("I-") or previous in (tag, f"B-{tag[2:]}")


def encode(words: Sequence[Span], entities: Iterable[Entity], labels: Iterable[str]) -> Encoded:
    """Tag `words` with the entities whose label is in `labels`; other entities are not looked at.

    Where entities overlap on words, the longest is kept, of equal ones the first; the answer does
    not depend on the order of `entities`. Offsets of words and entities refer to the same text.
    """
    known = frozenset(labels)
    labelled = [entity for entity in entities if entity.label in known]
    tags = [OUTSIDE] * len(words)
    widened = left_out = 0
    for entity in sorted(labelled, key=lambda e: (e.start - e.end, e.start, e.label)):
        first, last = _covered(words, entity.span)
        if first == last or any(tag != OUTSIDE for tag in tags[first:last]):
            left_out += 1
            continue
        widened += (words[first].start, words[last - 1].end) != (entity.start, entity.end)
        tags[first:last] = [f"B-{entity.label}", *[f"I-{entity.label}"] * (last - first - 1)]
    return Encoded(tuple(tags), widened, left_out)


def decode(words: Sequence[Span], tags: Sequence[str]) -> list[tuple[Span, str]]:
    """Return the labelled spans of a tag sequence, in order.

    Meant for legal paths; an ``I-`` after ``O`` or after another label opens an entity too, as
    ``B-`` does. Raises DataError when there is not one tag a word, or a string is no tag.
    """
    if len(words) != len(tags):
        raise DataError(f"{len(tags)} tags for {len(words)} words")
    spans: list[tuple[Span, str]] = []
    previous = OUTSIDE
    for word, tag in zip(words, tags, strict=True):
        if tag != OUTSIDE and tag[:2] not in ("B-", "I-"):
            raise DataError(f"not a BIO tag: {tag!r}")
        if tag.startswith("I-") and legal(previous, tag):
            span, label = spans[-1]
            spans[-1] = Span(span.start, word.end), label
        elif tag != OUTSIDE:
            spans.append((word, tag[2:]))
        previous = tag
    return spans


def _covered(words: Sequence[Span], span: Span) -> tuple[int, int]:
    """Return the half-open range of the words that share a character with `span`."""
    first = bisect_right(words, span.start, key=lambda word: word.end)
    last = bisect_left(words, span.end, key=lambda word: word.start)
    return first, max(first, last)
