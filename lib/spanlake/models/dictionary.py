"""The `dictionary` extractor: terms and patterns of a lexicon, matched word by word.

Deterministic and light. It serves the demo, the tests and as the baseline that any model should
beat; it knows nothing but its lexicon, whose terms come from no annotated corpus.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from spanlake.config.extractors import DictionaryConfig
from spanlake.core.bio import WORD
from spanlake.core.labels import LabelSet, Layer, labels_digest, load_labels
from spanlake.core.types import SEPARATOR, Entity, Extraction, Relation, Unit, entity_at
from spanlake.errors import ConfigError
from spanlake.models.lexicon import Node, Pattern, any_of, compiled, load_lexicon, trie_of
from spanlake.models.relation_rules import RULE_VERSION, NearestHeadRule
from spanlake.models.stats import Stats

EXTRACTOR_VERSION = "1"  # raise by hand when the code's answers to an unchanged lexicon change

Found = tuple[int, int, str]  # start, end, label
Words = list[tuple[int, int, str]]  # start, end, casefolded


def load(config: DictionaryConfig) -> Dictionary:
    """Return the extractor of a configuration."""
    return Dictionary(load_labels(config.labels))


def fingerprint(config: DictionaryConfig) -> str:
    """Return the hash of all that can change an answer: lexicon, label set, our own version."""
    return load(config).fingerprint


class Dictionary:
    """Finds a lexicon's terms and patterns; implements `spanlake.models.Extractor`.

    `lexicon` is the name of a bundled one or a path to a YAML file. Raises ConfigError when the
    lexicon names labels that `labels` lacks.
    """

    device = "cpu"
    context = 0
    training_text_hashes: frozenset[str] | None = frozenset()

    def __init__(self, labels: LabelSet, lexicon: str | Path = "kiwi") -> None:
        self.labels = labels
        self.stats = Stats()
        self._lexicon = load_lexicon(lexicon)
        unknown = sorted(set(self._lexicon.labels) - set(labels.labels))
        if unknown:
            raise ConfigError(
                f"lexicon {self._lexicon.name!r} names labels that label set {labels.name!r}"
                f" lacks: {', '.join(unknown)}"
            )
        self._rank = {label: rank for rank, label in enumerate(self._lexicon.labels)}
        self._layer = {label: labels.layer_of(label) for label in self._rank}
        self._trie = trie_of(self._lexicon)
        self._linker = NearestHeadRule(labels, self._lexicon)
        self._cues = frozenset(self._lexicon.cues)
        self._patterns = compiled(self._lexicon, self._lexicon.patterns)
        self._any_pattern = any_of(self._patterns)
        self._after = {
            head: compiled(self._lexicon, patterns)
            for head, patterns in self._lexicon.after.items()
        }
        lexicon_json = json.dumps(self._lexicon.model_dump(mode="json"))
        versions = [EXTRACTOR_VERSION, str(RULE_VERSION)]
        content = SEPARATOR.join([*versions, lexicon_json, labels_digest(labels)])
        self.fingerprint = hashlib.sha256(content.encode("utf-8")).hexdigest()

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        """Return one extraction per unit, in order; only a unit's target is read."""
        started = time.perf_counter()
        extractions = [self._extract(unit) for unit in units]
        self.stats.forward_seconds += time.perf_counter() - started
        self.stats.batches += 1
        return extractions

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        """Relate given entities (offsets relative to each target) by rule, per unit."""
        return [
            self._linker.score_relations(unit.target, given)
            for unit, given in zip(units, entities, strict=True)
        ]

    def _extract(self, unit: Unit) -> Extraction:
        text = unit.target
        spans = self._find(text)
        entities = tuple(entity_at(text, start, end, label, 1.0) for start, end, label in spans)
        relations = self._linker.score_relations(text, entities)
        answer = Extraction("ok", entities, tuple(relations), chars_seen=len(text))
        return answer.check(unit)

    def _find(self, text: str) -> list[Found]:
        """Return the flat spans of both layers, ordered by start, the longer first."""
        words = [(*match.span(), match.group().casefold()) for match in WORD.finditer(text)]
        self.stats.tokens += len(words)
        self.stats.padded_tokens += len(words)
        terms: dict[Layer, list[Found]] = {"main": [], "modifier": []}
        for term in _terms(words, self._trie):
            terms[self._layer[term[2]]].append(term)
        mains = self._flat(terms["main"], len(text))
        matches = [*self._matches(text, words, mains), *self._values(text, mains)]
        starts, ends = {word[0] for word in words}, {word[1] for word in words}
        whole = [term for term in matches if term[0] in starts and term[1] in ends]
        modifiers = self._fitting([*terms["modifier"], *whole], mains, len(text))
        both = [*mains, *self._flat(modifiers, len(text))]
        return sorted(both, key=lambda term: (term[0], -term[1], self._rank[term[2]]))

    def _matches(self, text: str, words: Words, mains: Sequence[Found]) -> Iterator[Found]:
        """Yield what the useful patterns find, at words that hold a digit or are cues."""
        useful = self._useful(mains)
        patterns = [item for item in self._patterns if item[0] in useful]
        for start, _, word in words:
            if word in self._cues or (not word.isalpha() and word.isalnum()):
                # One look for all patterns, as nearly every word here begins none of them.
                if self._any_pattern.match(text, start):
                    yield from _matches_at(text, start, patterns)

    def _values(self, text: str, mains: Sequence[Found]) -> Iterator[Found]:
        """Yield what the `after` patterns find right behind main entities of their label."""
        for _, behind, head in mains:
            if head in self._after:
                yield from _matches_at(text, behind, self._after[head])

    def _useful(self, mains: Sequence[Found]) -> set[str]:
        """Return the modifiers that some main could take: "daily" says nothing without a drug."""
        tails = (self.labels.pairs.get(head, ()) for head in {head for _, _, head in mains})
        return set(self._lexicon.free).union(*tails)

    def _fitting(
        self, modifiers: Sequence[Found], mains: Sequence[Found], length: int
    ) -> Iterator[Found]:
        """Yield the useful modifiers that keep clear of mains, or nest in one that takes them."""
        owners = [-1] * length
        for number, (start, end, _) in enumerate(mains):
            owners[start:end] = [number] * (end - start)
        useful = self._useful(mains)
        for start, end, label in modifiers:
            inside = set(owners[start:end])
            if inside == {-1}:
                fits = label in useful
            else:
                fits = label in self._lexicon.nested and len(inside) == 1 and -1 not in inside
                fits = fits and self.labels.allows(mains[inside.pop()][2], label)
            if fits:
                yield start, end, label

    def _flat(self, spans: Iterator[Found] | Sequence[Found], length: int) -> list[Found]:
        """Keep the longest of what overlaps, then the first, then the label listed first."""
        taken = bytearray(length)
        kept = []
        for start, end, label in sorted(spans, key=lambda f: (f[0] - f[1], f[0], self._rank[f[2]])):
            if taken.find(1, start, end) < 0:
                taken[start:end] = b"\1" * (end - start)
                kept.append((start, end, label))
        return sorted(kept)


def _terms(words: Words, trie: Node) -> Iterator[Found]:
    """Yield every term that stands in the words, also those inside longer ones."""
    for first, (start, _, word) in enumerate(words):
        node = trie.following.get(word)
        last = first
        while node is not None:
            for label in node.labels:
                yield start, words[last][1], label
            last += 1
            node = node.following.get(words[last][2]) if last < len(words) else None


def _matches_at(text: str, at: int, patterns: Iterable[Pattern]) -> Iterator[Found]:
    """Yield the matches at that very place, or of their groups `value`."""
    for label, pattern in patterns:
        match = pattern.match(text, at)
        if match:
            yield *match.span("value" if "value" in pattern.groupindex else 0), label
