"""The `spanlake` command: folders of notes on one machine without Spark, and the tables' upkeep.

spanlake annotate NOTES_FOLDER --to OUT_FOLDER
spanlake evaluate --gold GOLD_FOLDER --json scores.json
spanlake evaluate --gold GOLD_FOLDER --predicted OUT_FOLDER
spanlake compare OUT_A OUT_B --gold GOLD_FOLDER

With Spark, on the tables of a configuration:

spanlake update --ingest conf/ingest_jsonl.yml --extract conf/extract_base.yml
spanlake maintain --config conf/extract_base.yml
spanlake purge --config conf/extract_base.yml

`spanlake COMMAND -h` tells a command's options.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spanlake import __version__
from spanlake.config.base import codec_of, told_keys
from spanlake.config.extract import (
    EvaluateConfig,
    ExtractConfig,
    ExtractorConfig,
    IngestConfig,
    TablesConfig,
    load_config,
)
from spanlake.core.labels import load_labels
from spanlake.errors import ConfigError, SpanlakeError
from spanlake.models import load_extractor
from spanlake.models.loading import missing_packages
from spanlake.predict import annotate_folder
from spanlake.scoring.changes import Changed, change_lines, change_rows, changes
from spanlake.scoring.delivery import (
    ENCODING_HELP,
    add_gold,
    add_outputs,
    check_file,
    check_given,
    deliver,
)
from spanlake.scoring.error_table import write_rows
from spanlake.scoring.evaluation import Evaluation, evaluate_extractor, evaluate_folder

log = logging.getLogger(__name__)


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
UPDATE = """Ingest a source and extract what is new or changed, in one session of Spark.

spanlake update --ingest conf/ingest_jsonl.yml --extract conf/extract_base.yml
"""
MAINTAIN = """Keep tables fast and small: compact files, drop what no note needs, delete old files.

Open plans are named: extract with their configuration ends them, --abandon gives them up.

spanlake maintain --config conf/extract_base.yml
spanlake maintain --config conf/extract_base.yml --abandon all
spanlake maintain --config conf/extract_base.yml --upgrade
"""
PURGE = """Delete every row of texts that are no longer in `notes` (docs/privacy.md).

First delete or mend the notes at the source, and ingest.

spanlake purge --config conf/extract_base.yml
spanlake purge --config conf/extract_base.yml --answers --vacuum-now
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
    _add_update(commands)
    _add_maintain(commands)
    _add_purge(commands)
    return parser


def _add_update(commands: Any) -> None:
    update = _on_tables(commands, "update", "ingest and extract in one session", UPDATE)
    for name in ("ingest", "extract"):
        update.add_argument(
            f"--{name}", type=Path, required=True, metavar="FILE", help=f"conf/{name}_*.yml"
        )
    update.set_defaults(run=_update)


def _add_maintain(commands: Any) -> None:
    maintain = _on_tables(commands, "maintain", "compact the tables, and close plans", MAINTAIN)
    _add_tables(maintain)
    maintain.add_argument(
        "--vacuum-hours", type=_hours, metavar="N", help="delete files unused for so long;"
        " default: 720, as long as an open plan may need them",
    )  # fmt: skip
    what = maintain.add_mutually_exclusive_group()
    what.add_argument(
        "--abandon", metavar="PLAN_ID|all", help="give up an open plan whose run is dead, or all"
    )
    what.add_argument(
        "--upgrade", action="store_true",
        help="rewrite tables of an older layout, once, and do nothing else; no text is read again",
    )  # fmt: skip
    maintain.set_defaults(run=_maintain)


def _add_purge(commands: Any) -> None:
    purge = _on_tables(commands, "purge", "erase what is left of deleted and edited texts", PURGE)
    _add_tables(purge)
    purge.add_argument(
        "--answers", action="store_true",
        help="delete the model's answers to such texts as well; they hold no text",
    )  # fmt: skip
    purge.add_argument(
        "--vacuum-now", action="store_true",
        help="delete the files that held the rows at once, and with them all older versions: no"
        " other job may read or write the tables meanwhile",
    )  # fmt: skip
    purge.set_defaults(run=_purge)


def _on_tables(commands: Any, name: str, short: str, whole: str) -> argparse.ArgumentParser:
    """Return the parser of a command that works on tables, with Spark."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=short,
        description=whole,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override one key of the configuration; may be repeated",
    )  # fmt: skip
    return made


def _add_tables(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE",
        help="conf/extract_*.yml, for its tables",
    )  # fmt: skip


def _hours(given: str) -> int:
    if not given.isdecimal():
        raise argparse.ArgumentTypeError(f"a number of hours is expected, found {given!r}")
    return int(given)


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
    from spanlake.scoring.bootstrap import differences, lines, of_notes, read_notes  # numpy

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


def _maintain(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    tables = _open(config.tables, "spanlake maintain")
    from spanlake.spark.maintain import RETENTION_HOURS, maintain, upgrade

    if arguments.upgrade:
        done = upgrade(tables)
        sys.stdout.write(
            "upgraded: run extract next, which derives everything anew and reads no text again\n"
            if done
            else "nothing to upgrade: the tables are of the present layout\n"
        )
        return 0
    given = arguments.vacuum_hours
    hours = RETENTION_HOURS if given is None else given
    _tell("maintained", maintain(tables, config, hours=hours, abandon=arguments.abandon))
    return 0


def _purge(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    tables = _open(config.tables, "spanlake purge")
    from spanlake.spark.maintain import purge

    done = purge(tables, config, answers=arguments.answers, now=arguments.vacuum_now)
    _tell("purged", done)
    return 0


def _update(arguments: argparse.Namespace) -> int:
    source = load_config(IngestConfig, arguments.ingest, _keys_of(IngestConfig, arguments))
    config = load_config(ExtractConfig, arguments.extract, _keys_of(ExtractConfig, arguments))
    places = [(one.tables.location, one.tables.database) for one in (source, config)]
    if places[0] != places[1]:
        raise ConfigError(
            f"{arguments.ingest} and {arguments.extract} name different tables: set the same"
            " tables.location or tables.schema in both (--set tables.location=... sets both)"
        )
    tables = _open(config.tables, "spanlake update")
    from spanlake.spark.extract import extract
    from spanlake.spark.ingest import facts_of, ingest
    from spanlake.spark.runs import Run
    from spanlake.spark.summary import summary

    tables.require_layout()
    with Run(tables, "ingest", source) as run:
        counts = ingest(tables, source)
        run.facts |= facts_of(counts)
    _tell("ingested", counts)
    facts = extract(tables, config, wait=not sys.stdin.isatty())
    if config.tables.database is not None:
        tables.register_views()
    sys.stdout.write(summary(tables, facts) + "\n")
    return 0


def _keys_of(kind: type[IngestConfig | ExtractConfig], arguments: argparse.Namespace) -> list[str]:
    """Return the overrides of one of two configurations: those whose first key the other lacks."""
    other = ExtractConfig if kind is IngestConfig else IngestConfig
    theirs = set(other.model_fields) - set(kind.model_fields)
    return [one for one in arguments.overrides if one.split("=")[0].split(".")[0] not in theirs]


def _open(config: TablesConfig, name: str) -> Any:
    """Return the tables of a place, in a session of Spark that is started for them."""
    try:
        from spanlake.spark.session import get_session
        from spanlake.spark.tables import Tables
    except ModuleNotFoundError as error:
        raise missing_packages("spark", error.name) from None
    log.info("starting Spark")
    return Tables(get_session(name), config)


def _tell(what: str, done: Mapping[str, object]) -> None:
    from spanlake.spark.arguments import table_of

    sys.stdout.write(f"{what}\n{table_of(list(done.items()))}\n")


if __name__ == "__main__":
    sys.exit(main())
