"""Gold notes to what the three models of `bert` learn from: tagged windows and marked pairs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spanlake.core.bio import encode, tag_names, words
from spanlake.core.labels import LabelSet, Layer
from spanlake.core.types import Annotation, Relation, Sentence, Span, Unit, units_of
from spanlake.corpora import GoldNote, read_brat
from spanlake.models.batching import pad
from spanlake.models.pairs import candidates, pair_ids
from spanlake.models.tokenization import Pieces
from spanlake.models.windows import cut, owners
from spanlake.text.sentences import split

Feature = dict[str, Any]  # input_ids, and labels: one a piece for a tagger, one for a pair
NO_LABEL = -100  # what torch's cross entropy leaves out
NO_RELATION = "none"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence of the note `note_id` with its gold; offsets refer to its text.

    `gap` is what stands between it and the sentence before it, None in front of a note's first.
    """

    unit: Unit
    gold: Annotation
    note_id: str = ""
    gap: str | None = None

    @property
    def text(self) -> str:
        return self.unit.target


def read_gold(folders: Iterable[Path], labels: LabelSet) -> list[GoldNote]:
    """Read brat folders; what a reader has to leave out is logged with file and line."""
    notes: list[GoldNote] = []
    for folder in folders:
        found, report = read_brat(folder, labels)
        notes += found
        for problem in report.problems:
            log.warning("%s", problem)
    return notes


def examples_of(notes: Iterable[GoldNote], context: int = 0) -> tuple[list[Example], Counter[str]]:
    """Cut gold notes into sentences, to be read with `context` neighbours on each side.

    Counts what a sentence boundary cuts, which is left out.
    """
    examples: list[Example] = []
    counts: Counter[str] = Counter()
    for gold in notes:
        text, annotation = gold.note.note_text, gold.annotation
        sentences = split(text)
        units = units_of(text, sentences, context)
        ends = [None, *(sentence.span.end for sentence in sentences)]
        mine = [
            Example(
                unit,
                _within(sentence, annotation),
                gold.note.note_id,
                None if end is None else text[end : sentence.span.start],
            )
            for unit, sentence, end in zip(units, sentences, ends, strict=False)
        ]
        examples += mine
        counts["notes"] += 1
        counts["sentences"] += len(mine)
        counts["entities"] += len(annotation.entities)
        counts["relations"] += len(annotation.relations)
        counts["entities_cut"] += len(annotation.entities) - sum(
            len(example.gold.entities) for example in mine
        )
        counts["relations_cut"] += len(annotation.relations) - sum(
            len(example.gold.relations) for example in mine
        )
    return examples, counts


def _within(sentence: Sentence, annotation: Annotation) -> Annotation:
    span = sentence.span
    inside = [i for i, entity in enumerate(annotation.entities) if span.contains(entity.span)]
    position = {i: place for place, i in enumerate(inside)}
    relations = tuple(
        Relation(position[r.head], position[r.tail], r.label)
        for r in annotation.relations
        if r.head in position and r.tail in position
    )
    entities = tuple(annotation.entities[i].shift(-span.start) for i in inside)
    return Annotation(entities, relations)


def tag_features(
    examples: Iterable[Example],
    pieces: Pieces,
    labels: LabelSet,
    layer: Layer,
    *,
    limit: int,
    stride: int,
) -> tuple[list[Feature], Counter[str]]:
    """Return a feature for every window: the tag's number at each word's first piece.

    A word in two windows is labelled in the one that it is read in. Counts entities that were
    widened to whole words, and those left out for overlapping a longer one of their layer.
    """
    wanted = labels.labels_of(layer)
    number = {tag: i for i, tag in enumerate(tag_names(wanted))}
    features: list[Feature] = []
    counts: Counter[str] = Counter()
    for example in examples:
        spans = words(example.text)
        encoded = encode(spans, example.gold.entities, wanted)
        counts["widened"] += encoded.widened
        counts["overlapping"] += encoded.left_out
        numbers = [number[tag] for tag in encoded.tags]
        features += _windows(example.text, spans, numbers, pieces, limit, stride)
    return features, counts


def _windows(
    text: str, spans: Sequence[Span], numbers: list[int], pieces: Pieces, limit: int, stride: int
) -> list[Feature]:
    text_cut = cut(text, spans, pieces, limit=limit, stride=stride)
    owner = owners(text_cut.windows)
    features = []
    for i, (first, last) in enumerate(text_cut.windows):
        ids: list[int] = []
        targets: list[int] = []
        for word in range(first, last):
            own = text_cut.pieces[word]
            target = numbers[word] if owner[word] == i else NO_LABEL
            ids += own
            targets += [target, *[NO_LABEL] * (len(own) - 1)] if own else []
        before, after = ([NO_LABEL] * len(special) for special in (pieces.before, pieces.after))
        features.append({"input_ids": pieces.wrap(ids), "labels": [*before, *targets, *after]})
    return features


def pair_features(
    examples: Iterable[Example],
    pieces: Pieces,
    labels: LabelSet,
    *,
    limit: int,
    max_pair_words: int,
) -> tuple[list[Feature], Counter[str]]:
    """Return a feature for every allowed pair of gold entities, related or not.

    Counts related pairs, pairs in all, and gold relations that are no candidates.
    """
    number = {label: i for i, label in enumerate(pair_classes(labels))}
    features: list[Feature] = []
    counts: Counter[str] = Counter()
    for example in examples:
        spans, entities = words(example.text), example.gold.entities
        related = {(r.head, r.tail): number[r.label] for r in example.gold.relations}
        pairs = candidates(spans, entities, labels, max_pair_words)
        counts["pairs"] += len(pairs)
        counts["pairs_related"] += len(related.keys() & set(pairs))
        counts["relations_no_candidate"] += len(related.keys() - set(pairs))
        for head, tail in pairs:
            both = entities[head].span, entities[tail].span
            ids = pieces.wrap(pair_ids(example.text, spans, both, pieces, limit))
            features.append({"input_ids": ids, "labels": related.get((head, tail), 0)})
    return features, counts


def pair_classes(labels: LabelSet) -> tuple[str, ...]:
    """Return the pair classifier's classes: no relation first, then the relation labels."""
    return (NO_RELATION, *labels.relations)


def collate(features: Sequence[Mapping[str, Any]], filler: int) -> dict[str, Any]:
    """Return a padded batch of tensors; `filler` is the tokenizer's padding id."""
    import torch

    ids, mask = pad([feature["input_ids"] for feature in features], filler)
    targets = [feature["labels"] for feature in features]
    labels = np.array(targets) if isinstance(targets[0], int) else pad(targets, NO_LABEL)[0]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(values) for name, values in batch.items()}
