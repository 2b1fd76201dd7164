"""Sentences of a note that are learnt together, as one text: neighbours for the price of none.

A window around every sentence reads each neighbour again and again; here each sentence is read once
an epoch, in whatever company chance gives it, and all that is read is learnt from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spanlake.models.tokenization import Pieces
from spanlake.training.datasets import Feature


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence's windows, and the pieces between the sentence before it and it.

    The windows are features without special pieces. `gap` is None where nothing may stand before.
    """

    windows: list[Feature]
    gap: list[int] | None = None


def runs(
    parts: Iterable[Part], most: int, room: int, chance: np.random.Generator
) -> Iterator[list[Part]]:
    """Yield all windows, those of one to `most` parts that follow one another as one run.

    A sentence is as often in a run of one as in one of `most`, notes' ends aside. A run has at most
    `room` pieces; of a sentence of several windows each stays alone.
    """
    lengths = np.arange(1, most + 1)
    odds = 1 / lengths / (1 / lengths).sum()
    run: list[Part] = []
    wanted = left = 0
    for part in parts:
        size = sum(len(window["input_ids"]) for window in part.windows) + len(part.gap or ())
        whole = len(part.windows) == 1
        if run and (part.gap is None or not whole or len(run) == wanted or size > left):
            yield run
            run = []
        if not whole:
            yield from ([Part([window])] for window in part.windows)
            continue
        if not run:
            wanted, left = int(chance.choice(lengths, p=odds)), room + len(part.gap or ())
        run.append(part)
        left -= size
    if run:
        yield run


def joined(run: Sequence[Part], pieces: Pieces) -> Feature:
    """Return the windows of a run as one feature, with special pieces around it."""
    features = [part.windows[0] for part in run]
    gaps = [pieces.before, *(part.gap or [] for part in run[1:])]
    ids: list[int] = []
    tags, places = [], []
    for gap, feature in zip(gaps, features, strict=True):
        ids += gap
        places.append(feature["places"] + len(ids))
        ids += feature["input_ids"]
        tags += [_no_tags(len(gap), feature), feature["tags"]]
    tags.append(_no_tags(len(pieces.after), features[0]))
    rows = {
        name: np.concatenate([feature[name] for feature in features])
        for name in ("pair_features", "related")
    }
    made = {"input_ids": [*ids, *pieces.after], "tags": np.concatenate(tags)}
    return {**features[0], **made, "places": np.concatenate(places), **rows}


def _no_tags(count: int, feature: Feature) -> np.ndarray:
    return np.zeros((count, feature["tags"].shape[1]), dtype=feature["tags"].dtype)
