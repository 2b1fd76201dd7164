"""An evaluation under the scorers of two papers, faults included, beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanlake.core.labels import LAYERS
from spanlake.scoring.counts import LayerScores
from spanlake.scoring.evaluation import Evaluation
from spanlake.scoring.paper_scorers import kiwi_scores, semeval_scores, tag_pairs
from spanlake.scoring.scores import six

TITLES = {"main": "entities", "modifier": "modifiers"}  # as in the JSON of the scores


def paper_scores(evaluation: Evaluation) -> dict[str, Any]:
    """Return `kiwi` and `semeval` of `core.paper_scorers` by layer."""
    texts = [
        (one.gold.note.note_text, one.gold.annotation, one.predicted) for one in evaluation.notes
    ]
    pairs = {TITLES[layer]: tag_pairs(texts, evaluation.labels, layer) for layer in LAYERS}
    return {
        title: {"kiwi": kiwi_scores(own), "semeval": semeval_scores(own)}
        for title, own in pairs.items()
    }


def paper_lines(evaluation: Evaluation, found: Mapping[str, Any]) -> str:
    """Return a printed table: our scores and theirs, line by line; ends with a newline."""
    scores = evaluation.scores
    layers = {"entities": scores.entities, "modifiers": scores.modifiers}
    lines = [f"{'scorers of papers, with their faults':<38}{'P':>7}{'R':>7}{'F1':>7}"]
    for title, layer in layers.items():
        lines.append(title)
        lines += [_line(name, one) for name, one in _named(layer, found[title])]
    return "\n".join(lines) + "\n"


def _named(layer: LayerScores, theirs: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    kiwi, semeval = theirs["kiwi"], theirs["semeval"]
    return [
        ("ours, strict", six(layer.micro.strict)),
        ("2411.10020 (Kiwi), exact", kiwi["exact"]),
        ("2504.00664, strict", semeval["strict"]),
        ("ours, relaxed", six(layer.micro.relaxed)),
        ("2411.10020 (Kiwi), relaxed", kiwi["relaxed"]),
        ("2504.00664, partial", semeval["partial"]),
        *((f"ours, {length} words", six(one)) for length, one in layer.lengths.items()),
        *((f"2504.00664, {length} words", one) for length, one in semeval["lengths"].items()),
    ]


def _line(name: str, one: Mapping[str, Any]) -> str:
    ratios = (one[ratio] for ratio in ("precision", "recall", "f1"))
    return f"  {name:<36}" + "".join("      -" if r is None else f"{r:>7.3f}" for r in ratios)
