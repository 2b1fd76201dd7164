"""What the linker is told of a pair besides the spans' vectors: labels, places, what is between.

And whether the rule of `relation_rules` relates the two, which is right nineteen times in twenty.

Positions are words of the text; nothing here is trained.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity, Span
from spanlake.models.lexicon import Lexicon, bundled_lexicons, load_lexicon
from spanlake.models.relation_rules import RULE_VERSION, NearestHeadRule

DISTANCES = (0, 1, 2, 3, 5, 8, 13)  # words between; the last bucket is open
MOST_BETWEEN = 3
MARKS = (",", ";", ".", ":", "(", ")", "-", "/", "and", "or", "no", "not", "but", "with", "for")
LINE_BREAK = len(MARKS)

WordSpan = tuple[int, int]  # first word, one past the last


def feature_count(labels: LabelSet) -> int:
    """Return the width of a row of `pair_features`."""
    places = 2 * (len(DISTANCES) + 1) + 1
    return len(_kinds(labels)) + places + 2 * (MOST_BETWEEN + 1) + 3 + 1 + len(MARKS) + 1 + 1


def _by_rule(text: str, entities: Sequence[Entity], labels: LabelSet) -> set[tuple[int, int]]:
    linker = NearestHeadRule(labels, _words_of_rule(labels.name))
    return {(relation.head, relation.tail) for relation in linker.score_relations(text, entities)}


@cache
def _words_of_rule(name: str) -> Lexicon:
    """Return the label set's lexicon, an empty one where it has none: then the nearest head."""
    if name in bundled_lexicons():
        return load_lexicon(name)
    return Lexicon(name=name, terms={})


def rule_digest(labels: LabelSet) -> str:
    """Return a hash of what the rule goes by: another rule gives other answers."""
    words = _words_of_rule(labels.name)
    lists = (words.spread, words.look_back, words.breaks, words.soft_breaks)
    return hashlib.sha256(repr((RULE_VERSION, lists)).encode()).hexdigest()


def _kinds(labels: LabelSet) -> list[tuple[str, str]]:
    """Return the allowed (head, tail) labels in an order that the label file's does not change."""
    return sorted((head, tail) for head, tails in labels.pairs.items() for tail in tails)


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
    rows = np.zeros((len(pairs), feature_count(labels)), dtype=np.float32)
    if not pairs:
        return rows
    text_features = _Text.of(text, words, entities, labels)
    for row, (head, tail) in zip(rows, pairs, strict=True):
        place = 0
        for width, ones in text_features.groups(head, tail):
            row[[place + position for position in ones]] = 1.0
            place += width
    return rows


@dataclass(frozen=True, slots=True)
class _Spans:
    """Spans in the order of their first word, and the sorted ends of all."""

    spans: list[WordSpan]
    firsts: list[int]
    lasts: list[int]

    @classmethod
    def of(cls, spans: Iterable[WordSpan]) -> _Spans:
        ordered = sorted(spans)
        return cls(ordered, [first for first, _ in ordered], sorted(last for _, last in ordered))

    def inside(self, between: WordSpan) -> int:
        """Count the spans that lie wholly between."""
        first, last = (bisect_left(self.firsts, edge) for edge in between)
        return sum(end <= between[1] for _, end in self.spans[first:last])

    def overlapping(self, span: WordSpan) -> int:
        """Count the spans that share a word with `span`."""
        return bisect_left(self.firsts, span[1]) - bisect_right(self.lasts, span[0])

    def gap_before(self, span: WordSpan) -> int | None:
        """Return the words between `span` and the nearest one that ends before it."""
        at = bisect_right(self.lasts, span[0])
        return span[0] - self.lasts[at - 1] if at else None

    def gap_after(self, span: WordSpan) -> int | None:
        """Return the words between `span` and the nearest one that begins after it."""
        at = bisect_left(self.firsts, span[1])
        return self.firsts[at] - span[1] if at < len(self.firsts) else None


@dataclass(frozen=True, slots=True)
class _Text:
    """What all pairs of a text share; `heads` and `tails` are by the tail's label."""

    kinds: dict[tuple[str, str], int]
    entities: Sequence[Entity]
    spans: list[WordSpan]
    words: list[str]
    breaks: list[bool]
    heads: dict[str, _Spans]
    tails: dict[str, _Spans]
    by_rule: set[tuple[int, int]]

    @classmethod
    def of(
        cls, text: str, words: Sequence[Span], entities: Sequence[Entity], labels: LabelSet
    ) -> _Text:
        spans = word_spans(words, entities)
        of_label: dict[str, list[WordSpan]] = defaultdict(list)
        for entity, span in zip(entities, spans, strict=True):
            of_label[entity.label].append(span)
        heads: dict[str, list[WordSpan]] = defaultdict(list)
        for head, tail in _kinds(labels):
            heads[tail] += of_label.get(head, [])
        return cls(
            {pair: i for i, pair in enumerate(_kinds(labels))},
            entities,
            spans,
            [text[word.start : word.end].casefold() for word in words],
            ["\n" in text[a.end : b.start] for a, b in pairwise(words)],
            {label: _Spans.of(label_spans) for label, label_spans in heads.items()},
            {label: _Spans.of(label_spans) for label, label_spans in of_label.items()},
            _by_rule(text, entities, labels),
        )

    def groups(self, head: int, tail: int) -> list[tuple[int, list[int]]]:
        """Return the width of each group of features, and which of them are one."""
        head_span, tail_span = self.spans[head], self.spans[tail]
        label = self.entities[tail].label
        heads = self.heads[label]
        gap = max(tail_span[0] - head_span[1], head_span[0] - tail_span[1])
        between = (
            (head_span[1], tail_span[0])
            if head_span[1] <= tail_span[0]
            else (tail_span[1], head_span[0])
        )
        others = heads.overlapping(tail_span) - (gap < 0)
        return [
            (len(self.kinds), [self.kinds[self.entities[head].label, label]]),
            (2 * (len(DISTANCES) + 1) + 1, [_place(gap, tail_first=tail_span[0] < head_span[0])]),
            (MOST_BETWEEN + 1, [min(MOST_BETWEEN, heads.inside(between))]),
            (MOST_BETWEEN + 1, [min(MOST_BETWEEN, self.tails[label].inside(between))]),
            (3, [_other_side(head_span, tail_span, gap, heads)]),
            (1, [0] if others > 0 else []),
            (len(MARKS) + 1, _marks(between, self.words, self.breaks)),
            (1, [0] if (head, tail) in self.by_rule else []),
        ]


def _place(gap: int, *, tail_first: bool) -> int:
    if gap < 0:
        return 2 * (len(DISTANCES) + 1)
    bucket = bisect_left(DISTANCES, gap)
    return bucket + tail_first * (len(DISTANCES) + 1)


def _other_side(head: WordSpan, tail: WordSpan, gap: int, heads: _Spans) -> int:
    """Tell whether a head stands on the tail's other side: 0 none, 1 farther off, 2 nearer."""
    other = heads.gap_before(tail) if head[0] >= tail[0] else heads.gap_after(tail)
    return 0 if other is None else 1 + (other < gap)


def _marks(between: WordSpan, words: Sequence[str], breaks: Sequence[bool]) -> list[int]:
    first, last = between
    seen = set(words[first:last])
    marks = [i for i, mark in enumerate(MARKS) if mark in seen]
    edge = any(breaks[max(first - 1, 0) : last])
    return [*marks, LINE_BREAK] if edge and first <= last else marks
