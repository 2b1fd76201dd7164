"""Learning curve: train a tagger on more and more notes, score each model on `eval_data`.

python studies/learning_curve.py --config conf/train_tagger.yml --sizes 10 20 --set output_dir=X
The smaller sets of notes are subsets of the larger ones. Finished sizes (X/notes-N) are not trained
again. Writes X/learning_curve.csv and X/learning_curve.png.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import numpy as np

from spanlake.cli import config_parser, run_reporting_errors
from spanlake.config.train import TaggerTrainConfig, load_train_config
from spanlake.core.labels import load_labels
from spanlake.corpora import GoldNote
from spanlake.errors import ConfigError
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.scoring.bootstrap import Interval, NoteCounts, intervals, of_notes
from spanlake.scoring.counts import Counts, Scores
from spanlake.scoring.score_extractor import scores_by_note
from spanlake.training.examples import read_gold
from spanlake.training.leakage import require_valid_eval_notes
from spanlake.training.run_dir import require_single_process
from spanlake.training.tagger import tagger_config, train_tagger, validate_training

COLUMNS = ("notes", "measure", "precision", "recall", "f1", "low", "high")


def subsets(
    notes: Sequence[GoldNote], sizes: Iterable[int], seed: int
) -> dict[int, list[GoldNote]]:
    """Return the first notes of one random order, by number: the larger sets hold the smaller.

    They stay in the order of `notes`. Raises ConfigError for a size that is not between 1 and the
    number of notes.
    """
    numbers = sorted(set(sizes))
    wrong = [str(size) for size in numbers if not 1 <= size <= len(notes)]
    if wrong:
        raise ConfigError(f"sizes {', '.join(wrong)}: `train_data` holds {len(notes)} notes")
    order = np.random.default_rng(seed).permutation(len(notes))
    return {size: [notes[i] for i in sorted(order[:size])] for size in numbers}


def train_sizes(
    notes: Sequence[GoldNote],
    eval_notes: Sequence[GoldNote],
    sizes: Iterable[int],
    config: TaggerTrainConfig,
) -> dict[int, dict[str, Scores]]:
    """Train a model per size into `config.output_dir`/notes-N; return its scores per note.

    Everything is checked before the first model is trained. Raises DataError for evaluation notes
    in the training data, ConfigError as `subsets`, for a base model that was trained on notes, and
    for a folder with a model of another recipe.
    """
    require_single_process("a learning curve")
    require_valid_eval_notes(notes, eval_notes, config.model)
    chosen = subsets(notes, sizes, config.seed)
    configs = {}
    for size, train_notes in chosen.items():
        output_dir = str(Path(config.output_dir) / f"notes-{size}")
        # Without calibration: temperatures are those of models of one size.
        configs[size] = config.model_copy(update={"output_dir": output_dir, "calibration": None})
        validate_training(train_notes, configs[size])
    scores = {}
    for size, train_notes in chosen.items():
        train_tagger(train_notes, [], configs[size])
        scores[size] = scores_by_note(eval_notes, OnePassTagger(tagger_config(configs[size])))
    return scores


@dataclass(frozen=True, slots=True)
class Point:
    """What a model trained on `notes` notes reaches of a measure (`scoring.bootstrap`)."""

    measure: str
    notes: int
    counts: Counts
    interval: Interval


def points(curve: Mapping[int, Mapping[str, NoteCounts]]) -> list[Point]:
    """Return the points by measure and size; `curve` holds counts by size, then by scored note."""
    found = [
        Point(name, size, sum((counts[name] for counts in notes.values()), Counts()), interval)
        for size, notes in sorted(curve.items())
        for name, interval in intervals(notes).items()
    ]
    measures = list(dict.fromkeys(point.measure for point in found))
    return sorted(found, key=lambda point: measures.index(point.measure))


def write_csv(curve: Sequence[Point], path: Path) -> None:
    """Write a row per point; `low` and `high` are of what `measure` names; undefined is empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for point in curve:
            ratios = (point.counts.precision, point.counts.recall, point.counts.f1)
            ends = (point.interval.low, point.interval.high)
            rounded = ("" if ratio is None else f"{ratio:.4f}" for ratio in (*ratios, *ends))
            rows.writerow((point.notes, point.measure, *rounded))


def table(curve: Sequence[Point]) -> str:
    """Return a table in per cent: a line per measure, a column per size, with 95 % intervals."""
    rows = {name: list(group) for name, group in groupby(curve, attrgetter("measure"))}
    sizes = [point.notes for point in next(iter(rows.values()), [])]
    head = f"{'':<28}" + "".join(f"{f'{size} notes':>22}" for size in sizes)
    body = [f"{name:<28}" + "".join(map(_cell, group)) for name, group in rows.items()]
    return "\n".join([head, *body])


def _cell(point: Point) -> str:
    value, low, high = point.interval.value, point.interval.low, point.interval.high
    cell = "-" if value is None else f"{100 * value:.1f}"
    if low is not None and high is not None:
        cell += f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{cell:>22}"


def plot(curve: Sequence[Point], path: Path) -> None:
    """Plot each measure against the number of notes, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = {name: list(group) for name, group in groupby(curve, attrgetter("measure"))}
    figure, axes = pyplot.subplots(1, len(groups), figsize=(4 * len(groups), 4), squeeze=False)
    for axis, (name, group) in zip(axes[0], groups.items(), strict=True):
        for point in group:
            value, low, high = point.interval.value, point.interval.low, point.interval.high
            if value is not None:
                axis.plot(point.notes, value, "o", color="tab:blue")
            if low is not None and high is not None:
                axis.vlines(point.notes, low, high, color="tab:blue")
        axis.set(title=name, xlabel="notes", ylim=(0, 1))
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def job(arguments: argparse.Namespace) -> int:
    config = load_train_config(arguments.config, arguments.overrides)
    if not isinstance(config, TaggerTrainConfig):
        raise ConfigError("only kind: tagger is trained by sizes")
    if config.eval_data is None:
        raise ConfigError("a learning curve needs `eval_data`: the notes to score every model on")
    labels, output_dir = load_labels(config.labels), Path(config.output_dir)
    notes = read_gold(config.train_folders, labels)
    eval_notes = read_gold([Path(config.eval_data)], labels)
    scores = train_sizes(notes, eval_notes, arguments.sizes, config)
    curve = points({size: of_notes(by_note) for size, by_note in scores.items()})
    write_csv(curve, output_dir / "learning_curve.csv")
    plot(curve, output_dir / "learning_curve.png")
    print(f"per cent, 95 % interval over {len(eval_notes)} notes\n{table(curve)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    options = config_parser(str(__doc__), "conf/train_*.yml of kind: tagger", TaggerTrainConfig)
    options.add_argument("--sizes", type=int, nargs="+", required=True, metavar="N",
                         help="numbers of notes to train on: a model each")  # fmt: skip
    return run_reporting_errors(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
