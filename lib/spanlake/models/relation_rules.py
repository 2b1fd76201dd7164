"""Relations by rule: each modifier goes to the nearest head that may have it.

The baseline's way to link. It looks at positions, and at a lexicon's few lists of words.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from spanlake.core.bio import WORD
from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity, Relation
from spanlake.models.lexicon import Lexicon

RULE_VERSION = 1  # raise when the rule relates other entities by the same lists
AGAINST_DIRECTION = 3  # words by which a head before a look-back modifier may lie farther off
BREAK_WEIGHT = 10  # words that a break counts for in a distance


@dataclass(slots=True)
class Gaps:
    """Where words start, how far each lies from the text's beginning, and which words break.

    Distances count words; those inside entities count nothing, and breaks count for many. There is
    one more than there are words: the text's end.
    """

    starts: list[int] = field(default_factory=list)
    distances: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    soft_breaks: list[int] = field(default_factory=list)

    def between(self, end: int, start: int) -> int:
        """Return the distance from the word at `end` or after it to the word at `start`."""
        words = bisect_left(self.starts, end), bisect_left(self.starts, start)
        return self.distances[words[1]] - self.distances[words[0]]


class NearestHeadRule:
    """Relates entities of one text by the rules of a lexicon; only pairs that `labels` allows.

    A head that shares characters with the tail comes first. A tail whose label is in the
    lexicon's `spread` takes every following head of the first one's label, up to a break or the
    next entity with the tail's label; where none follows, the one before it ("fever: none"). Every
    other tail gets one head, the nearest.
    """

    def __init__(self, labels: LabelSet, lexicon: Lexicon) -> None:
        self._labels = labels
        self._name = next(iter(labels.relations), None)
        self._spread, self._look_back = frozenset(lexicon.spread), frozenset(lexicon.look_back)
        self._breaks, self._soft_breaks = frozenset(lexicon.breaks), frozenset(lexicon.soft_breaks)

    def score_relations(self, text: str, entities: Sequence[Entity]) -> list[Relation]:
        """Return the relations, as positions in `entities`, ordered by tail and head."""
        if self._name is None or len(entities) < 2:
            return []
        order = sorted(range(len(entities)), key=lambda i: (entities[i].start, entities[i].end))
        of_label: dict[str, list[int]] = defaultdict(list)
        for i in order:
            of_label[entities[i].label].append(i)
        heads_of = {
            label: [i for i in order if self._labels.allows(entities[i].label, label)]
            for label in of_label
        }
        if not any(heads_of.values()):
            return []
        gaps, relations = self._gaps(text, entities), []
        for label, tails in of_label.items():
            # Where the tails of the same label before and after each one start.
            places = [len(text), *(entities[i].start for i in tails), len(text)]
            for tail, reach in zip(tails, zip(places, places[2:], strict=False), strict=True):
                linked = self._heads(tail, reach, heads_of[label], entities, gaps)
                relations += [Relation(head, tail, self._name, 1.0) for head in linked]
        return sorted(relations, key=lambda relation: (relation.tail, relation.head))

    def _gaps(self, text: str, entities: Sequence[Entity]) -> Gaps:
        inside = bytearray(len(text))
        for entity in entities:
            inside[entity.start : entity.end] = b"\1" * (entity.end - entity.start)
        gaps, distance = Gaps(), 0
        for match in WORD.finditer(text):
            start, word = match.start(), match.group().casefold()
            gaps.starts.append(start)
            gaps.distances.append(distance)
            if inside[start]:
                continue
            distance += 1
            # A full stop breaks where a sentence may end, not in "3.5".
            if word in self._breaks and (word != "." or not text[start + 1 : start + 2].strip()):
                distance += BREAK_WEIGHT
                gaps.breaks.append(start)
            elif word in self._soft_breaks:
                gaps.soft_breaks.append(start)
        gaps.distances.append(distance)  # where the text ends
        return gaps

    def _heads(
        self,
        tail: int,
        reach: tuple[int, int],
        heads: list[int],
        entities: Sequence[Entity],
        gaps: Gaps,
    ) -> list[int]:
        """Return the heads of one tail, among `heads`, which are ordered by their starts."""
        here = entities[tail]
        at = bisect_right(heads, here.start, key=lambda i: entities[i].start)
        before = [i for i in heads[max(at - 2, 0) : at] if i != tail][-1:]
        ahead = [i for i in heads[at : at + 2] if i != tail][:1]
        for head in (*before, *ahead):
            if entities[head].span.overlaps(here.span):
                return [head]
        if here.label in self._spread:
            stop = min(reach[1], _next(gaps.breaks, here.end))
            last = bisect_left(heads, stop, key=lambda i: entities[i].start)
            linked = _coordinated(heads[at:last], entities, gaps)
            return linked or [i for i in before if _is_free(entities[i], here, reach[0], gaps)]
        back = here.label in self._look_back
        costs = [(gaps.between(entities[i].end, here.start), not back, i) for i in before]
        costs += [
            (gaps.between(here.end, entities[i].start) + back * AGAINST_DIRECTION, back, i)
            for i in ahead
        ]
        return [min(costs)[2]] if costs else []


def _coordinated(heads: Sequence[int], entities: Sequence[Entity], gaps: Gaps) -> list[int]:
    """Return those of `heads` that are coordinated with the first: its label, no soft break."""
    if not heads:
        return []
    first = entities[heads[0]]
    stop = _next(gaps.soft_breaks, first.end)
    return [i for i in heads if entities[i].start < stop and entities[i].label == first.label]


def _is_free(head: Entity, tail: Entity, earlier: int, gaps: Gaps) -> bool:
    """Tell whether no break parts the two, and no `earlier` tail of the label governs the head."""
    governed = earlier < head.start < _next(gaps.breaks, earlier)
    return not governed and tail.start <= _next(gaps.breaks, head.end)


def _next(positions: Sequence[int], start: int) -> float:
    """Return the first of the ordered positions that is not before `start`, or infinity."""
    at = bisect_left(positions, start)
    return positions[at] if at < len(positions) else float("inf")
