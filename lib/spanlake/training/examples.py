"""Notes to training examples: sentences with their gold annotation, as arrays of probabilities."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from spanlake.config.train import UnlabelledNotes
from spanlake.core.bio import encode, tag_names, words
from spanlake.core.labels import LabelSet
from spanlake.core.types import Annotation, Note, Relation, Sentence, Span, Unit, units_of
from spanlake.corpora import GoldNote, read_brat, read_mtsamples
from spanlake.corpora.note_table import read_note_table
from spanlake.errors import DataError
from spanlake.models.pairs import candidates
from spanlake.models.tagger.features import WordSpan, pair_features, word_spans
from spanlake.text.sentences import split

DRAW_SEED = 42  # of `max_notes`

log = logging.getLogger(__name__)


def read_gold(folders: Iterable[Path], labels: LabelSet) -> list[GoldNote]:
    """Read brat folders; lines that cannot be read are logged with file and line."""
    notes: list[GoldNote] = []
    for folder in folders:
        folder_notes, report = read_brat(folder, labels)
        notes += folder_notes
        for problem in report.problems:
            log.warning("%s", problem)
    return notes


def read_unlabelled(config: UnlabelledNotes) -> list[Note]:
    """Read notes without annotation, except those in `exclude_ids_file`; DataError for none."""
    all_notes = read_mtsamples(Path(config.notes))
    excluded: dict[str, str] = {}
    if config.exclude_ids_file:
        excluded = read_note_table(Path(config.exclude_ids_file), "note_id")
    notes = [note for note in all_notes if note.note_id not in excluded]
    if config.exclude_ids_file and len(notes) == len(all_notes):
        raise DataError(f"{config.exclude_ids_file}: none of its ids is in {config.notes}")
    if not notes:
        raise DataError(f"{config.notes}: no notes to train on")
    if config.max_notes and len(notes) > config.max_notes:
        order = np.random.default_rng(DRAW_SEED).permutation(len(notes))
        return [notes[i] for i in order[: config.max_notes]]
    return notes


@dataclass(frozen=True, slots=True)
class Example:
    """A sentence with its gold annotation; offsets refer to its text.

    `gap` is the text between it and the sentence before it, None for the first of a note.
    """

    unit: Unit
    gold: Annotation
    gap: str | None = None

    @property
    def text(self) -> str:
        return self.unit.target


def examples_of(notes: Iterable[GoldNote], context: int = 0) -> tuple[list[Example], Counter[str]]:
    """Split gold notes into sentences, each with `context` neighbours on both sides.

    Entities and relations that cross a sentence boundary are dropped, and counted.
    """
    examples: list[Example] = []
    counts: Counter[str] = Counter()
    for gold in notes:
        text, annotation = gold.note.note_text, gold.annotation
        sentences = split(text)
        units = units_of(text, sentences, context)
        gaps = [None, *(text[a.span.end : b.span.start] for a, b in pairwise(sentences))]
        note_examples = [
            Example(unit, _annotation_within(sentence, annotation), gap)
            for unit, sentence, gap in zip(units, sentences, gaps, strict=False)
        ]
        examples += note_examples
        counts["notes"] += 1
        counts["sentences"] += len(note_examples)
        for kind in ("entities", "relations"):
            count = len(getattr(annotation, kind))
            kept = sum(len(getattr(example.gold, kind)) for example in note_examples)
            counts[kind] += count
            counts[f"{kind}_cut"] += count - kept
    return examples, counts


def _annotation_within(sentence: Sentence, annotation: Annotation) -> Annotation:
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


@dataclass(frozen=True, slots=True, eq=False)
class LabelledText:
    """A text with the probabilities that a tagger is trained to predict: gold (0 or 1) or soft.

    `tags` has a distribution per layer; `pairs` are the words of heads and tails. `gap` is that of
    the `Example`.
    """

    text: str
    words: list[Span]
    tags: np.ndarray  # [words, tags of all layers]
    pairs: list[tuple[WordSpan, WordSpan]]
    pair_features: np.ndarray  # [pairs, features]
    pair_labels: np.ndarray  # [pairs, relations]
    gap: str | None = None


def labelled_texts(
    examples: Iterable[Example], labels: LabelSet, *, max_pair_distance: int
) -> tuple[list[LabelledText], Counter[str]]:
    """Return the gold labels of sentences, and counts of what no word or pair can express."""
    counts: Counter[str] = Counter()
    return [_labelled(example, labels, max_pair_distance, counts) for example in examples], counts


def _labelled(
    example: Example, labels: LabelSet, max_pair_distance: int, counts: Counter[str]
) -> LabelledText:
    text, entities = example.text, example.gold.entities
    text_words = words(text)
    spans = word_spans(text_words, entities)
    has_words = [first < last for first, last in spans]  # white space has none
    pairs = [
        (head, tail)
        for head, tail in candidates(text_words, entities, labels, max_pair_distance)
        if labels.relations and has_words[head] and has_words[tail]
    ]
    return LabelledText(
        text,
        text_words,
        _gold_tags(example, text_words, labels, counts),
        [(spans[head], spans[tail]) for head, tail in pairs],
        pair_features(text, text_words, entities, pairs, labels),
        gold_pair_labels(example, pairs, labels, counts),
        example.gap,
    )


def _gold_tags(
    example: Example, text_words: Sequence[Span], labels: LabelSet, counts: Counter[str]
) -> np.ndarray:
    """Return ``[words, tags of all layers]`` ones and zeros."""
    layers = []
    for layer in labels.layers:
        layer_labels = labels.labels_of(layer)
        names = tag_names(layer_labels)
        encoded = encode(text_words, example.gold.entities, layer_labels)
        counts["widened"] += encoded.widened
        counts["overlapping"] += encoded.left_out
        layers.append(np.eye(len(names), dtype=np.float32)[[names.index(t) for t in encoded.tags]])
    return np.concatenate(layers, axis=1)


def gold_pair_labels(
    example: Example, pairs: Sequence[tuple[int, int]], labels: LabelSet, counts: Counter[str]
) -> np.ndarray:
    """Return ``[pairs, relations]`` ones and zeros for pairs of entities."""
    names = list(labels.relations)
    truth = np.zeros((len(pairs), len(names)), dtype=np.float32)
    row_of = {pair: i for i, pair in enumerate(pairs)}
    for relation in example.gold.relations:
        row = row_of.get((relation.head, relation.tail))
        if row is None:
            counts["relations_no_candidate"] += 1
        else:
            truth[row, names.index(relation.label)] = 1.0
    counts["pairs"] += len(pairs)
    counts["pairs_related"] += int(truth.any(axis=1).sum())
    return truth
