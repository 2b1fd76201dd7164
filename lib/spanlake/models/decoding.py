"""From class probabilities to labelled spans: label mapping, Viterbi, marginals, temperatures."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spanlake.core.bio import OUTSIDE, decode, legal, tag_names
from spanlake.core.labels import LabelSet, Layer
from spanlake.core.types import Entity, Span, entity_at
from spanlake.errors import ConfigError, ModelError

TINY = 1e-30  # no tag is impossible, or a text could have no legal sequence
SMALLEST = 1e-12
SCORE_DIGITS = 6  # what batch and machine leave unchanged in float32
PREFIXED = re.compile(r"([BIESLU])[-_](.+)")
TAG_PREFIXES = {"B": "B", "S": "B", "U": "B", "I": "I", "E": "I", "L": "I", "": "BI"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TagDecoder:
    """Reads one layer's entities off class probabilities.

    `classes[c, t]` is 1 where the checkpoint's class `c` counts as tag `t`; `steps[s, t]` is 0
    where tag `t` may follow tag `s`, else minus infinity.
    """

    tags: tuple[str, ...]
    classes: np.ndarray
    steps: np.ndarray

    def read(
        self,
        text: str,
        words: Sequence[Span],
        probabilities: np.ndarray,
        seen: np.ndarray,
        threshold: float = 0.0,
    ) -> tuple[list[Entity], float]:
        """Return the entities of the best legal path, and how probable it is that they are all.

        An entity's score is the probability of exactly its words and its label among all legal
        paths; those below `threshold` are left out. `probabilities` has a row of classes a word.
        Rows where `seen` is false (words of which the tokenizer leaves nothing) say nothing: such
        a word is inside an entity that goes on after it, and outside everywhere else.
        """
        if not seen.any():
            return [], 1.0
        probabilities = probabilities[seen] @ self.classes
        path = best_path(np.log(probabilities + TINY), self.steps)
        chain = TagLattice(probabilities, np.isfinite(self.steps).astype(np.float64))
        scored = [(_rounded(chain.span(*run)), run) for run in _runs(self._names(path), self.tags)]
        for first, last, *_ in (run for score, run in scored if score < threshold):
            path[first:last] = 0
        scores = [score for score, _ in scored if score >= threshold]
        spans = decode(words, _fill(self._names(path), seen))
        entities = [
            entity_at(text, span.start, span.end, label, score)
            for (span, label), score in zip(spans, scores, strict=True)
        ]
        return entities, min(1.0, chain.sequence(path.tolist()))

    def _names(self, path: np.ndarray) -> list[str]:
        return [self.tags[tag] for tag in path]


def _runs(names: Sequence[str], tags: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Return first and one past the last word of each span of a legal path, and its two tags."""
    firsts = [i for i, name in enumerate(names) if name.startswith("B-")]
    runs = []
    for first in firsts:
        begin = tags.index(names[first])
        inside = tags.index(f"I-{names[first][2:]}")
        last = first + 1
        while last < len(names) and names[last] == tags[inside]:
            last += 1
        runs.append((first, last, begin, inside))
    return runs


def best_path(emissions: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the highest-scoring legal path (Viterbi); tag 0 stands before the first word.

    `emissions[w, t]` are log scores. The greedy path is the best one wherever it is legal, which
    is nearly always.
    """
    path = emissions.argmax(axis=1)
    if np.isfinite(steps[np.concatenate(([0], path[:-1])), path]).all():
        return path
    return _viterbi(emissions, steps)


def _viterbi(emissions: np.ndarray, steps: np.ndarray) -> np.ndarray:
    total = emissions[0] + steps[0]
    came_from = np.zeros(emissions.shape, dtype=np.int64)
    for word in range(1, len(emissions)):
        reached = total[:, None] + steps
        came_from[word] = reached.argmax(axis=0)
        total = reached.max(axis=0) + emissions[word]
    path = np.zeros(len(emissions), dtype=np.int64)
    path[-1] = total.argmax()
    for word in range(len(emissions) - 1, 0, -1):
        path[word - 1] = came_from[word, path[word]]
    return path


def _fill(tags: list[str], seen: np.ndarray) -> list[str]:
    """Spread tags of the seen words over all words; an unseen one goes on where the next does."""
    filled = [OUTSIDE] * len(seen)
    following = OUTSIDE
    remaining = iter(reversed(tags))
    for position in range(len(seen) - 1, -1, -1):
        if seen[position]:
            following = next(remaining)
            filled[position] = following
        elif following.startswith("I-"):
            filled[position] = following
    return filled


def _rounded(score: float) -> float:
    """Return a score as it is told, and compared with a threshold."""
    return round(min(1.0, score), SCORE_DIGITS)


def check_label_map(label_map: Mapping[str, str], labels: LabelSet) -> None:
    """Raise ConfigError where a target of `label_map` is neither a label nor a relation label."""
    known = {*labels.labels, *labels.relations, OUTSIDE}
    unknown = sorted({split_prefix(target)[1] for target in label_map.values()} - known)
    if unknown:
        raise ConfigError(
            f"label_map names {unknown}, not in label set {labels.name!r}: {sorted(known)}"
        )


def split_prefix(name: str) -> tuple[str, str]:
    """Split a tag such as ``B-problem`` or ``E-PROB`` into prefix and label; none gives ''."""
    match = PREFIXED.fullmatch(name)
    return (match[1], match[2]) if match else ("", name)


def tag_decoder(
    class_names: Sequence[str], label_map: Mapping[str, str], labels: LabelSet, layer: Layer
) -> TagDecoder:
    """Return the decoder of a checkpoint with these classes for one layer of the label set.

    Understands BIO, IO and BIOES/BILOU names. A `label_map` key is a class's whole name or the
    label in it. Classes that fit no label of the layer count as outside. Raises ModelError when
    none fits any.
    """
    wanted = labels.labels_of(layer)
    targets = [_target(name, label_map) for name in class_names]
    if not any(label in wanted for _, label in targets):
        raise ModelError(
            f"no class of the {layer} model is a {layer} label of {labels.name!r}; classes:"
            f" {', '.join(class_names)}; labels: {', '.join(wanted)}; use extractor.label_map"
        )
    ignored = {label for _, label in targets if label not in wanted and label != OUTSIDE}
    if ignored:
        log.info("%s model: classes of no %s label: %s", layer, layer, sorted(ignored))
    tags = tag_names(wanted)
    return TagDecoder(tags, _classes(targets, tags), _steps(tags, _unbegun(targets)))


def _target(name: str, label_map: Mapping[str, str]) -> tuple[str, str]:
    prefix, label = split_prefix(name)
    own_prefix, target = split_prefix(label_map.get(name) or label_map.get(label, label))
    return own_prefix or prefix, target


def _classes(targets: Sequence[tuple[str, str]], tags: Sequence[str]) -> np.ndarray:
    classes = np.zeros((len(targets), len(tags)))
    for position, (prefix, label) in enumerate(targets):
        names = [f"{tag_prefix}-{label}" for tag_prefix in TAG_PREFIXES[prefix]]
        fitting = [tags.index(name) for name in names if name in tags]
        classes[position, fitting or [0]] = 1.0
    return classes


def _unbegun(targets: Iterable[tuple[str, str]]) -> set[str]:
    """Return labels that no class begins (IO schemes): neighbours of one label are one entity."""
    pairs = list(targets)
    return {label for _, label in pairs} - {
        label for prefix, label in pairs if TAG_PREFIXES[prefix] == "B"
    }


def _steps(tags: Sequence[str], unbegun: set[str]) -> np.ndarray:
    steps = np.full((len(tags), len(tags)), -np.inf)
    for s, previous in enumerate(tags):
        for t, tag in enumerate(tags):
            again = tag[0] == "B" and previous[2:] == tag[2:] and tag[2:] in unbegun
            if legal(previous, tag) and not again:
                steps[s, t] = 0.0
    return steps


class TagLattice:
    """The distribution over legal tag sequences of a text, by forward-backward.

    A word's tags are independent of its neighbours' but for what may follow what: a linear chain
    whose transitions are 0 or 1 (arXiv 1011.4088, section 2.2). `probabilities` is
    ``[words, tags]``; ``allowed[s, t]`` is 1 where tag `t` may follow tag `s`, else 0. Tag 0 stands
    before the first word.
    """

    def __init__(self, probabilities: np.ndarray, allowed: np.ndarray) -> None:
        self.probabilities, self.allowed = probabilities.astype(np.float64) + TINY, allowed
        count, tags = probabilities.shape
        # forward[w]: of word w - 1's tag given the words up to it; backward[w] completes it.
        self.forward = np.zeros((count + 1, tags))
        self.forward[0, 0] = 1.0
        self.scale = np.ones(count)
        for word in range(count):
            reached = (self.forward[word] @ allowed) * self.probabilities[word]
            self.scale[word] = reached.sum()
            self.forward[word + 1] = reached / self.scale[word]
        self.backward = np.ones((count + 1, tags))
        for word in range(count - 1, -1, -1):
            ahead = self.probabilities[word] * self.backward[word + 1]
            self.backward[word] = allowed @ ahead / self.scale[word]

    def sequence(self, tags: Sequence[int]) -> float:
        """Return the probability of one legal sequence, a tag a word."""
        chosen = self.probabilities[np.arange(len(tags)), list(tags)] / self.scale
        return float(np.exp(np.log(chosen).sum()))

    def span(self, first: int, last: int, begin: int, inside: int) -> float:
        """Return the probability that words `first` to `last` - 1, and no more, are one span.

        `begin` and `inside` are the tags of its first word and of those that follow.
        """
        tags = [begin] + [inside] * (last - first - 1)
        chosen = self.probabilities[np.arange(first, last), tags] / self.scale[first:last]
        before = self.forward[first] @ self.allowed[:, begin]
        return float(before * chosen.prod() * self._ends(last, tags[-1], inside))

    def _ends(self, word: int, tag: int, inside: int) -> float:
        """Return the factor of what comes after a span's last tag, which does not go on."""
        if word == len(self.probabilities):
            return 1.0
        ahead = (
            self.allowed[tag]
            * self.probabilities[word]
            * self.backward[word + 1]
            / self.scale[word]
        )
        return float(ahead.sum() - ahead[inside])


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperatures (arXiv 1706.04599): one for the tags of each layer, in order, one for pairs.

    They are fitted on out-of-fold predictions; 1 changes nothing.
    """

    tags: tuple[float, ...]
    pairs: float = 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON gives back as it is."""
        return {"tags": list(self.tags), "pairs": self.pairs}

    def of_tags(self, probabilities: np.ndarray, layers: Sequence[int]) -> np.ndarray:
        """Return calibrated ``[words, tags of all layers]``; rows of zeros stay as they are."""
        parts = np.split(probabilities, np.cumsum(layers)[:-1], axis=1)
        scaled = [
            temperature_scaled(part, temperature)
            for part, temperature in zip(parts, self.tags, strict=True)
        ]
        return np.concatenate(scaled, axis=1)

    def of_pairs(self, scores: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of relations."""
        return temperature_scaled(np.stack((scores, 1.0 - scores), axis=-1), self.pairs)[..., 0]


def temperature_scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities (last axis) to the power of 1/temperature, summing to one again."""
    if temperature == 1.0:
        return probabilities
    powers = np.where(probabilities > 0, probabilities, 0.0) ** (1.0 / temperature)
    return powers / np.maximum(powers.sum(axis=-1, keepdims=True), SMALLEST)
