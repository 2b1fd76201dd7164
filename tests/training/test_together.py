"""Sentences learnt together: every one once, in order, in runs that fit, and nothing moved."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gold_notes import gold_note

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")

from spanlake.core.labels import load_labels  # noqa: E402
from spanlake.models.tokenization import Pieces, pieces_of  # noqa: E402
from spanlake.training.datasets import examples_of  # noqa: E402
from spanlake.training.joint import gold_targets, joint_features, parts_of  # noqa: E402
from spanlake.training.together import Part, runs  # noqa: E402

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


def _features(pieces: Pieces, limit: int, **options: Any) -> list[dict[str, Any]]:
    examples, _ = examples_of([LONG, SHORT, LONG])
    targets, _ = gold_targets(examples, load_labels("kiwi"), max_pair_words=20)
    parts = parts_of(targets, pieces, limit=limit, stride=0)
    return joint_features(parts, pieces, limit=limit, **options)


def _facts(features: list[dict[str, Any]]) -> tuple[Counter[Any], Counter[Any]]:
    """Count what is learnt of pieces, and of pairs with the pieces of their ends."""
    words: Counter[Any] = Counter()
    pairs: Counter[Any] = Counter()
    for feature in features:
        ids = np.array(feature["input_ids"])
        for piece, tags in zip(ids, feature["tags"], strict=True):
            words[int(piece), tuple(np.flatnonzero(tags))] += bool(tags.any())
        for place, told, related in zip(
            feature["places"], feature["pair_features"], feature["related"], strict=True
        ):
            pairs[tuple(ids[place]), tuple(told), tuple(related)] += 1
    return +words, pairs


@pytest.mark.parametrize("limit", [24, 40, 400])
def test_the_same_is_learnt_of_every_word_and_pair_in_whatever_company(
    tiny_base: Path, limit: int
) -> None:
    pieces = pieces_of(tiny_base)
    alone = _features(pieces, limit)
    for seed in range(10):
        together = _features(pieces, limit, most=4, seed=(seed,))
        assert _facts(together) == _facts(alone)
        assert len(together) < len(alone)
        assert all(len(one["input_ids"]) <= limit + pieces.specials for one in together)


def test_lines_end_in_a_run_as_they_do_where_neighbours_are_read(tiny_base: Path) -> None:
    pieces = pieces_of(tiny_base)
    longest = max(
        (_features(pieces, 400, most=3, seed=(seed,))[0]["input_ids"] for seed in range(10)),
        key=len,
    )
    [first, second, third] = [pieces.of(one.split()) for one in
                              ("Denies fever .", "No rash today .", "Mild cough .")]  # fmt: skip
    flat = [[piece for word in words for piece in word] for words in (first, second, third)]
    end = pieces.after[-1:]
    assert longest == pieces.wrap([*flat[0], *end, *end, *flat[1], *end, *flat[2]])


def _part(name: int, size: int = 1, gap: list[int] | None = None, windows: int = 1) -> Part:
    return Part([{"name": name, "input_ids": [0] * size}] * windows, gap)


def _names(parts: list[Part], most: int, room: int, seed: int) -> list[list[int]]:
    found = runs(parts, most, room, np.random.default_rng(seed))
    return [[part.windows[0]["name"] for part in run] for run in found]


def test_runs_end_where_notes_end_and_where_there_is_no_room() -> None:
    parts = [_part(0), _part(1, gap=[7]), _part(2), _part(3, gap=[]), _part(4, gap=[], windows=2)]
    for seed in range(20):
        found = _names(parts, 5, 10, seed)
        assert [name for run in found for name in run] == [0, 1, 2, 3, 4, 4]
        assert all(run in ([0], [1], [0, 1], [2], [3], [2, 3], [4]) for run in found)
        assert [0, 1] not in _names(parts, 5, 2, seed), "a piece stands between the two"
    assert any([0, 1] in _names(parts, 5, 3, seed) for seed in range(20))


def test_a_sentence_is_as_often_in_runs_of_each_length() -> None:
    parts = [_part(name, gap=[]) for name in range(60_000)]
    found = Counter(len(run) for run in _names(parts, 5, 1000, 1))
    shares = [length * found[length] / len(parts) for length in range(1, 6)]
    assert shares == pytest.approx([0.2] * 5, abs=0.01)
    assert Counter(map(len, _names(parts[:50], 1, 1000, 1))) == {1: 50}
