"""The scorers of two papers with their faults, to set our numbers beside published ones.

python studies/paper_scorers.py --gold GOLD_FOLDER --predicted OUT_FOLDER

Not for choosing anything: the faults are named where they are. Both work on BIO tags over the words
of `core.bio`, one layer at a time, and both write of an entity by its first and last word.
"""

from __future__ import annotations

import argparse
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from spanlake.core.bio import OUTSIDE, decode, encode, words
from spanlake.core.labels import LAYERS, LabelSet, Layer, load_labels
from spanlake.core.types import Annotation, Span
from spanlake.scoring.counts import LENGTHS, LayerScores
from spanlake.scoring.evaluation import Evaluation, evaluate_folder
from spanlake.scoring.scores import six

Tags = Sequence[str]
TagPair = tuple[Tags, Tags]  # gold and predicted tags of one note's words


class Found(NamedTuple):
    """An entity on words: the first one, the one after its last, and the label."""

    start: int
    end: int
    label: str


def tag_pairs(
    notes: Iterable[tuple[str, Annotation, Annotation]], labels: LabelSet, layer: Layer
) -> list[TagPair]:
    """Return the tags of (text, gold, predicted) notes; of entities that overlap one is kept."""
    names = labels.labels_of(layer)
    return [
        (encode(own, gold.entities, names).tags, encode(own, predicted.entities, names).tags)
        for own, gold, predicted in ((words(text), ours, theirs) for text, ours, theirs in notes)
    ]


def kiwi_scores(pairs: Iterable[TagPair]) -> dict[str, dict[str, float | int | None]]:
    """Return Kiwi's `exact` and `relaxed` ratios (arXiv 2411.10020), and the counts behind them.

    Its faults: entities that only touch are a relaxed match; relaxed precision divides the matched
    *gold* entities by the predictions, and recall the matched predictions by the gold ones, so that
    precision may exceed 1; an entity that ends on the file's last word ends one word early.

    Assumed, as the sources do not say: a file is all notes in order with one empty line between
    two, words are ours, an entity may match several, F1 is the harmonic mean, 0/0 is None.
    """
    both = list(pairs)
    gold, predicted = (_read_file([pair[side] for pair in both]) for side in (0, 1))
    right = len(set(gold) & set(predicted))
    right_gold, right_predicted = _touched(gold, predicted), _touched(predicted, gold)
    size = {"gold": len(gold), "predicted": len(predicted)}
    return {
        "exact": {**_ratios(right, len(predicted), right, len(gold)), "right": right, **size},
        "relaxed": {
            **_ratios(right_gold, len(predicted), right_predicted, len(gold)),
            "right_gold": right_gold,
            "right_predicted": right_predicted,
            **size,
        },
    }


def semeval_scores(pairs: Iterable[TagPair]) -> dict[str, object]:
    """Return paper 2's `strict`, `partial` and `lengths` (arXiv 2504.00664, after SemEval-2013).

    Its faults: overlaps leave each entity's last word out, so that entities of one word overlap
    nothing; a gold entity counts in the recall's denominator once for every wrong prediction that
    overlaps it. `lengths` cuts each gold entity out and scores the tags on its own words, and gives
    all words outside gold to bucket 1: what is predicted there, or sticks out of gold, counts as
    spurious in bucket 1 alone.

    Assumed: notes are its sequences; a prediction is compared with gold in order, up to the first
    that overlaps it; the same place with another label is right for `partial`; a partial match
    counts one half; each run of words outside gold is a sequence of bucket 1.
    """
    both = list(pairs)
    buckets: dict[str, list[TagPair]] = {length: [] for length in LENGTHS}
    for gold, predicted in both:
        for start, end, size in _cuts(gold):
            bucket = LENGTHS[min(size, len(LENGTHS)) - 1]
            buckets[bucket].append((gold[start:end], predicted[start:end]))
    strict = _outcomes(both)
    return {
        "strict": _semeval(strict, 0),
        "partial": _semeval(strict, 1),
        "lengths": {length: _semeval(_outcomes(own), 0) for length, own in buckets.items()},
    }


def _entities(tags: Tags) -> list[Found]:
    """Read tags leniently: an I- without its B- opens an entity, as both papers have it."""
    places = [Span(i, i + 1) for i in range(len(tags))]
    return [Found(span.start, span.end, label) for span, label in decode(places, tags)]


def _read_file(notes: Iterable[Tags]) -> list[Found]:
    file = [tag for tags in notes for tag in (*tags, OUTSIDE)][:-1]
    found = _entities(file)
    if found and found[-1].end == len(file):
        found[-1] = found[-1]._replace(end=len(file) - 1)
    return found


def _touched(ours: Sequence[Found], theirs: Sequence[Found]) -> int:
    """Count those of `ours` that overlap or touch one of `theirs` with their label.

    Entities of tags are flat, so the last that begins in time is the one that ends last.
    """
    of_label: dict[str, list[Found]] = defaultdict(list)
    for one in theirs:
        of_label[one.label].append(one)

    def touches(one: Found) -> bool:
        others = of_label[one.label]
        at = bisect_right(others, one.end, key=lambda other: other.start)
        return at > 0 and others[at - 1].end >= one.start

    return sum(map(touches, ours))


def _cuts(gold: Tags) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, bucket's size) of every gold entity and every run of words outside."""
    for start, end, _ in _entities(gold):
        yield start, end, end - start
    for outside, run in groupby(range(len(gold)), key=lambda i: gold[i] == OUTSIDE):
        places = list(run)
        if outside:
            yield places[0], places[-1] + 1, 1


def _outcomes(pairs: Iterable[TagPair]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for gold_tags, predicted_tags in pairs:
        gold, predicted = _entities(gold_tags), _entities(predicted_tags)
        met: set[Found] = set()
        for one in predicted:
            kind, other = _meet(one, gold)
            counts[kind] += 1
            met |= {other} if other else set()
        counts["missed"] += len(set(gold) - met)
    return counts


def _meet(one: Found, gold: Sequence[Found]) -> tuple[str, Found | None]:
    if one in gold:
        return "correct", one
    for other in gold:
        if one[:2] == other[:2]:
            return "mislabelled", other
        if max(one.start, other.start) < min(one.end, other.end) - 1:
            return "overlapping", other
    return "spurious", None


def _semeval(counts: Counter[str], half: int) -> dict[str, float | int | None]:
    """Return the ratios; `half` tells whether a partial match counts, by one half."""
    wrong = counts["mislabelled"] + counts["overlapping"]
    actual = counts["correct"] + wrong + counts["spurious"]
    possible = counts["correct"] + wrong + counts["missed"]
    right = counts["correct"] + half * (counts["mislabelled"] + counts["overlapping"] / 2)
    kinds = ("correct", "mislabelled", "overlapping", "missed", "spurious")
    return {**_ratios(right, actual, right, possible), **{kind: counts[kind] for kind in kinds}}


def _ratios(
    right_p: float, predicted: int, right_r: float, gold: int
) -> dict[str, float | int | None]:
    precision = right_p / predicted if predicted else None
    recall = right_r / gold if gold else None
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


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


def main(argv: list[str] | None = None) -> int:
    """Print our scores of a folder of predictions and those of the two papers' scorers."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--predicted", type=Path, required=True)
    parser.add_argument("--labels", default="kiwi")
    arguments = parser.parse_args(argv)
    labels = load_labels(arguments.labels)
    evaluation = evaluate_folder(arguments.gold, arguments.predicted, labels)
    sys.stdout.write(paper_lines(evaluation, paper_scores(evaluation)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
