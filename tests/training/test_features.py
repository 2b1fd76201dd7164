"""Sentence packing: every sentence once, in order, in runs that fit, and no label moved."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gold_notes import gold_note
from spanlake.core.labels import load_labels
from spanlake.models.tokenization import WordTokenizer, load_word_tokenizer
from spanlake.training.examples import examples_of, labelled_texts
from spanlake.training.features import (
    SentenceWindows,
    cut_sentences,
    pack_sentences,
    runs_of_sentences,
)

LONG = gold_note(
    "long",
    "Denies fever.\n\nNo rash today.\nMild cough.\nZincol daily.\n"
    + "or itching " * 30
    + ".\nEnd.",
    ("Denies", "negation"),
    ("fever", "problem"),
    ("Mild", "severity"),
    ("cough", "problem"),
    ("Zincol", "drug"),
    ("daily", "frequency"),
    relations=[(1, 0), (3, 2), (4, 5)],
)
SHORT = gold_note("short", "Fever.", ("Fever", "problem"))


def _features(tokenizer: WordTokenizer, limit: int, **options: Any) -> list[dict[str, Any]]:
    examples, _ = examples_of([LONG, SHORT, LONG])
    texts, _ = labelled_texts(examples, load_labels("kiwi"), max_pair_distance=20)
    sentences = cut_sentences(texts, tokenizer, limit=limit, stride=0)
    return pack_sentences(sentences, tokenizer, limit=limit, **options)


def _labels(features: list[dict[str, Any]]) -> tuple[Counter[Any], Counter[Any]]:
    """Count the labels of subwords, and of pairs with the subwords of their ends."""
    words: Counter[Any] = Counter()
    pairs: Counter[Any] = Counter()
    for feature in features:
        ids = np.array(feature["input_ids"])
        for subword, tags in zip(ids, feature["tags"], strict=True):
            words[int(subword), tuple(np.flatnonzero(tags))] += bool(tags.any())
        for row in zip(
            feature["pair_positions"], feature["pair_features"], feature["pair_labels"], strict=True
        ):
            pairs[tuple(ids[row[0]]), tuple(row[1]), tuple(row[2])] += 1
    return +words, pairs


@pytest.mark.parametrize("limit", [24, 40, 400])
def test_packing_changes_no_label_of_a_word_or_pair(tiny_base: Path, limit: int) -> None:
    tokenizer = load_word_tokenizer(tiny_base)
    alone = _features(tokenizer, limit)
    for seed in range(10):
        packed = _features(tokenizer, limit, max_packed_sentences=4, seed=(seed,))
        assert _labels(packed) == _labels(alone)
        assert len(packed) < len(alone)
        assert all(len(f["input_ids"]) <= limit + tokenizer.specials for f in packed)


def test_newlines_are_encoded_as_in_extraction(tiny_base: Path) -> None:
    tokenizer = load_word_tokenizer(tiny_base)
    packed = [
        _features(tokenizer, 400, max_packed_sentences=3, seed=(seed,))[0]["input_ids"]
        for seed in range(10)
    ]
    sentences = ("Denies fever .", "No rash today .", "Mild cough .")
    subwords = [tokenizer.of(sentence.split()) for sentence in sentences]
    first, second, third = ([piece for word in words for piece in word] for words in subwords)
    newline = tokenizer.after[-1:]
    expected = [*first, *newline, *newline, *second, *newline, *third]
    assert max(packed, key=len) == tokenizer.wrap(expected)


def _sentence(
    name: int, size: int = 1, gap: list[int] | None = None, windows: int = 1
) -> SentenceWindows:
    return SentenceWindows([{"name": name, "input_ids": [0] * size}] * windows, gap)


def _names(
    sentences: list[SentenceWindows], max_length: int, limit: int, seed: int
) -> list[list[int]]:
    runs = runs_of_sentences(sentences, max_length, limit, np.random.default_rng(seed))
    return [[sentence.windows[0]["name"] for sentence in run] for run in runs]


def test_runs_end_with_their_note_and_at_the_limit() -> None:
    sentences = [
        _sentence(0),
        _sentence(1, gap=[7]),
        _sentence(2),
        _sentence(3, gap=[]),
        _sentence(4, gap=[], windows=2),
    ]
    for seed in range(20):
        runs = _names(sentences, 5, 10, seed)
        assert [name for run in runs for name in run] == [0, 1, 2, 3, 4, 4]
        assert all(run in ([0], [1], [0, 1], [2], [3], [2, 3], [4]) for run in runs)
        assert [0, 1] not in _names(sentences, 5, 2, seed), "the gap has a subword"
    assert any([0, 1] in _names(sentences, 5, 3, seed) for seed in range(20))


def test_a_sentence_is_as_often_in_runs_of_each_length() -> None:
    sentences = [_sentence(name, gap=[]) for name in range(60_000)]
    counts = Counter(len(run) for run in _names(sentences, 5, 1000, 1))
    shares = [length * counts[length] / len(sentences) for length in range(1, 6)]
    assert shares == pytest.approx([0.2] * 5, abs=0.01)
    assert Counter(map(len, _names(sentences[:50], 1, 1000, 1))) == {1: 50}
