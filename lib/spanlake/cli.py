"""The `spanlake` command: the library without Spark, for a folder of notes on one machine.

spanlake annotate NOTES_FOLDER --to OUT_FOLDER
spanlake evaluate --gold GOLD_FOLDER --json scores.json
spanlake evaluate --gold GOLD_FOLDER --predicted OUT_FOLDER
spanlake compare OUT_A OUT_B --gold GOLD_FOLDER

`spanlake COMMAND -h` tells a command's options.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanlake import __version__
from spanlake.core.config import EvaluateConfig, ExtractorConfig, load_config
from spanlake.core.config_file import told_keys
from spanlake.core.encodings import codec_of
from spanlake.core.errors import ConfigError, SpanlakeError
from spanlake.core.labels import load_labels
from spanlake.models import load_extractor
from spanlake.report.changes import Changed, change_lines, change_rows, changes
from spanlake.report.delivery import (
    ENCODING_HELP,
    add_gold,
    add_outputs,
    check_file,
    check_given,
    deliver,
)
from spanlake.report.error_table import write_rows
from spanlake.report.evaluation import Evaluation, evaluate_extractor, evaluate_folder
from spanlake.report.folder import annotate_folder


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; returns 0, 1 when something failed, 2 for a wrong call."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("spanlake").setLevel(logging.INFO)
    try:
        return int(arguments.run(arguments))
    except SpanlakeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"{error.filename}: {error.strerror} ({type(error).__name__})\n")
    return 1


WHY = {"UnicodeEncodeError": ": a lone surrogate, which is no character: mend the file"}
ANNOTATE = """Write a brat file NAME.ann for every NAME.txt of a folder.

spanlake annotate notes --to out
spanlake annotate notes --to out --encoding cp1252 --set extractor.entity_threshold=0.3
"""
EVALUATE = """Score a model, or a folder of .ann files, on annotated notes.

spanlake evaluate --gold gold --json scores.json
spanlake evaluate --gold gold --predicted out --errors errors.jsonl
spanlake evaluate --gold notes.jsonl --config conf/extract_base.yml
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spanlake", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"spanlake {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    annotate = _command(
        commands, "annotate", "write a brat .ann for every .txt of a folder", ANNOTATE
    )
    annotate.add_argument("notes", type=Path, metavar="NOTES_FOLDER")
    annotate.add_argument("--to", type=Path, required=True, metavar="OUT_FOLDER")
    annotate.add_argument("--encoding", default="utf-8", help=ENCODING_HELP)
    _add_config(annotate)
    annotate.set_defaults(run=_annotate)
    evaluate = _command(commands, "evaluate", "score a model or a folder of .ann files", EVALUATE)
    add_gold(evaluate)
    add_outputs(evaluate)
    _add_config(evaluate)
    evaluate.set_defaults(run=_evaluate)
    _add_compare(commands.add_parser("compare", help="what one run gains over another, by note"))
    return parser


def _command(commands: Any, name: str, short: str, whole: str) -> argparse.ArgumentParser:
    """Return the parser of a command that takes a configuration's extractor."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=short,
        description=whole,
        epilog=told_keys(ExtractorConfig, section="extractor."),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument(
        "ours",
        type=Path,
        help="the run whose gains are told: a file of evaluate --notes or jobs/crossvalidate.py,"
        " or with --gold a folder of .ann files",
    )
    compare.add_argument("theirs", type=Path, help="the run that it is compared with")
    compare.add_argument("--gold", type=Path, help="gold notes: then the two are .ann folders")
    compare.add_argument("--encoding", default="utf-8", help=ENCODING_HELP)
    compare.add_argument("--labels", default="kiwi", help="label set of the folders")
    compare.add_argument("--to", type=Path, help="with --gold: write a JSON line a changed entity")
    compare.set_defaults(run=_compare)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="conf/extract_*.yml, of which the extractor is used; default: the bundled model",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override one key of the configuration; may be repeated",
    )  # fmt: skip


def _annotate(arguments: argparse.Namespace) -> int:
    config = load_config(EvaluateConfig, arguments.config, arguments.overrides)
    codec = codec_of(arguments.encoding)
    extractor = load_extractor(config.extractor)
    failed = annotate_folder(arguments.notes, arguments.to, extractor, codec)
    for note_id, error_class in failed.items():
        sys.stderr.write(f"failed: {note_id} ({error_class}){WHY.get(error_class, '')}\n")
    if "UnicodeDecodeError" in failed.values():
        sys.stderr.write(
            f"not {arguments.encoding}: give another --encoding, as cp1252 or utf-16\n"
        )
    return 1 if failed else 0


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.predicted and arguments.config:
        raise ConfigError("give --predicted (a folder) or --config (a model), not both")
    config = load_config(EvaluateConfig, arguments.config, arguments.overrides)
    check_given(arguments, load_labels(config.extractor.labels))
    deliver(_evaluation(arguments, config), arguments)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from spanlake.report.bootstrap import differences, lines, of_notes, read_notes  # numpy

    both = (arguments.ours, arguments.theirs)
    if arguments.to:
        check_file(arguments.to)
    if arguments.gold:
        ours, theirs = _folders(arguments, both)
        found = differences(of_notes(ours.by_note), of_notes(theirs.by_note))
    elif arguments.to:
        raise ConfigError("--to needs --gold: which entities changed is not in counts by note")
    else:
        found = differences(*map(read_notes, both))
    sys.stdout.write("points gained, 95 % interval over notes, * where 0 is outside\n")
    sys.stdout.write(lines(found, signed=True) + "\n")
    if arguments.gold:
        _deliver_changes(changes(ours.notes, theirs.notes, ours.labels), arguments.to)
    return 0


def _folders(arguments: argparse.Namespace, both: Sequence[Path]) -> list[Evaluation]:
    labels, codec = load_labels(arguments.labels), codec_of(arguments.encoding)
    found = [evaluate_folder(arguments.gold, folder, labels, codec) for folder in both]
    for problem in dict.fromkeys(line for one in found for line in one.report.problems):
        sys.stderr.write(f"{problem}\n")
    return found


def _deliver_changes(found: Sequence[Changed], to: Path | None) -> None:
    sys.stdout.write("\n" + change_lines(found))
    if to is not None:
        write_rows(to, change_rows(found))


def _evaluation(arguments: argparse.Namespace, config: EvaluateConfig) -> Evaluation:
    codec = codec_of(arguments.encoding)
    if arguments.predicted:
        labels = load_labels(config.extractor.labels)
        return evaluate_folder(arguments.gold, arguments.predicted, labels, codec)
    return evaluate_extractor(arguments.gold, load_extractor(config.extractor), codec)


if __name__ == "__main__":
    sys.exit(main())
