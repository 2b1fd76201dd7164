"""Clinical notes to entities and relations.

Without Spark, on folders of notes:

  spanlake extract NOTES_FOLDER --to OUT_FOLDER
  spanlake evaluate --gold GOLD_FOLDER --json scores.json
  spanlake compare counts_a.json counts_b.json

With Spark, on the tables of a configuration:

  spanlake update --ingest conf/ingest_csv.yml --extract conf/extract_small.yml
  spanlake query --config conf/extract_small.yml "SELECT * FROM current_entities"

`spanlake VERB` and `spark-submit jobs/VERB.py` are the same program. `spanlake VERB -h` lists the
options of a verb, docs/configuration.md the keys of configurations.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from spanlake import __version__
from spanlake.config.base import codec_of, load_config, told_keys
from spanlake.config.extract import EvaluateConfig, ExtractConfig, IngestConfig, TablesConfig
from spanlake.config.train import (
    BertTrainConfig,
    DistilConfig,
    LlamaTrainConfig,
    TaggerTrainConfig,
    load_train_config,
)
from spanlake.core.labels import load_labels
from spanlake.corpora import ReadReport
from spanlake.errors import ConfigError, SpanlakeError
from spanlake.models import load_extractor, model_fingerprint
from spanlake.models.loading import missing_packages
from spanlake.predict import annotate_folder
from spanlake.scoring.changes import change_lines, change_rows, changes
from spanlake.scoring.error_table import write_rows
from spanlake.scoring.evaluation import Evaluation, evaluate_extractor, evaluate_folder
from spanlake.scoring.report import (
    ENCODING_HELP,
    add_gold,
    add_outputs,
    check_file,
    validate_options,
    write_reports,
)

log = logging.getLogger(__name__)

TRAINING_PACKAGES = ("torch", "transformers", "accelerate", "safetensors")  # of the extra `train`
STEPS = ("plan", "infer", "derive", "all", "abandon")
QUERY_END = re.compile(r"[;\s]*(--[^\n'\"`]*\s*)*\Z")  # semicolons and comments after a query
CELL_WIDTH = 60  # characters of a cell that `query` prints: a note would fill the screen
DEMO_QUERIES = (
    "entities_per_label",
    "drugs_with_strength_and_frequency",
    "affirmed_problems",
    "note_states",
    "offset_violations",
)


def main(argv: list[str] | None = None) -> int:
    """Run a verb; returns 0, 1 when something failed, 2 for a wrong call."""
    arguments = build_parser().parse_args(argv)
    return run_reporting_errors(arguments.run, arguments)


def run_reporting_errors(
    run: Callable[[argparse.Namespace], int], arguments: argparse.Namespace
) -> int:
    """Run a command with its log on stderr; an error of ours is one line and exit code 1."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("spanlake").setLevel(logging.INFO)
    try:
        return int(run(arguments))
    except SpanlakeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    except ModuleNotFoundError as error:
        if error.name not in (*TRAINING_PACKAGES, "pyspark", "delta"):
            raise
        extra = "train" if error.name in TRAINING_PACKAGES else "spark"
        sys.stderr.write(f"ModelError: {missing_packages(extra, error.name)}\n")
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"{error.filename}: {error.strerror} ({type(error).__name__})\n")
    return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs, each with the function that runs it as `run`."""
    parser = argparse.ArgumentParser(
        prog="spanlake", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"spanlake {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    add_extract(verbs)
    add_ingest(verbs)
    add_update(verbs)
    add_query(verbs)
    add_evaluate(verbs)
    add_compare(verbs)
    add_train(verbs)
    add_crossvalidate(verbs)
    add_distil(verbs)
    add_maintain(verbs)
    add_purge(verbs)
    add_demo(verbs)
    return parser


def add_verb(
    verbs: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    details: str = "",
    config: str | None = None,
    kinds: Sequence[type[BaseModel]] = (),
    *,
    required: bool = False,
    aliases: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """Add a verb; with `config` (which files fit) it has `--config FILE` and `--set KEY=VALUE`.

    Its help names the keys of the configurations `kinds`.
    """
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        aliases=list(aliases),
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.\n\n{details}",
        epilog=told_keys(*kinds) if kinds else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if config is not None:
        add_config(parser, config, required=required)
    parser.set_defaults(run=run)
    return parser


def config_parser(
    description: str, configs: str, *kinds: type[BaseModel]
) -> argparse.ArgumentParser:
    """Return the parser of a study: `--config FILE`, `--set KEY=VALUE`, the keys in its help."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=told_keys(*kinds),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser, configs, required=True)
    return parser


def add_config(parser: argparse.ArgumentParser, configs: str, *, required: bool) -> None:
    parser.add_argument("--config", type=Path, required=required, metavar="FILE", help=configs)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override one key of the configuration; may be repeated",
    )  # fmt: skip


def open_tables(config: TablesConfig, app_name: str) -> Any:
    """Return the tables of a place, in a Spark session that is started for them."""
    from spanlake.spark.session import get_session
    from spanlake.spark.tables import Tables

    log.info("starting Spark")
    return Tables(get_session(app_name), config)


def print_table(title: str, rows: Mapping[str, object] | Sequence[tuple[str, object]]) -> None:
    """Print two aligned columns."""
    pairs = list(rows.items()) if isinstance(rows, Mapping) else rows
    width = max((len(name) for name, _ in pairs), default=0)
    lines = [title, *(f"  {name:<{width}}  {value}" for name, value in pairs)]
    sys.stdout.write("\n".join(lines) + "\n")


# extract


def add_extract(verbs: Any) -> None:
    parser = add_verb(
        verbs, "extract", run_extract, "extract entities and relations",
        "From a folder of .txt files to a folder of brat .ann files, without Spark:\n\n"
        "  spanlake extract NOTES_FOLDER --to OUT_FOLDER [--config conf/extract_bert.yml]\n\n"
        "From the table `notes` to the tables of a configuration, with Spark:\n\n"
        "  spanlake extract --config conf/extract_small.yml [--step plan|infer|derive|all]",
        "conf/extract_*.yml; for a folder its extractor is used, default: the bundled model",
        [ExtractConfig], aliases=["annotate"],
    )  # fmt: skip
    parser.add_argument("notes", type=Path, nargs="?", metavar="NOTES_FOLDER")
    parser.add_argument("--to", type=Path, metavar="OUT_FOLDER", help="where the .ann files go")
    parser.add_argument("--encoding", default="utf-8", help=ENCODING_HELP)
    parser.add_argument("--step", choices=STEPS, help="tables: one step; default: all")
    parser.add_argument(
        "--publish", action="store_true", help="tables: the views show this pipeline from now on"
    )
    parser.add_argument(
        "--retry", choices=["quarantined"], help="tables: read notes again that were given up"
    )
    parser.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=not sys.stdin.isatty(),
        help="tables: watch the owner of an open plan, and take the plan over if it is dead;"
        " default: where no terminal is",
    )  # fmt: skip


def run_extract(arguments: argparse.Namespace) -> int:
    if arguments.notes is not None:
        if arguments.step or arguments.publish or arguments.retry:
            raise ConfigError(
                "a folder of notes and --step, --publish or --retry exclude one another: those are"
                " of tables (`spanlake extract --config FILE`)"
            )
        if arguments.to is None:
            raise ConfigError("--to OUT_FOLDER is needed: where the .ann files go")
        return extract_folder(arguments)
    if arguments.config is None or arguments.to is not None:
        raise ConfigError(
            "give a folder of notes (`spanlake extract NOTES_FOLDER --to OUT_FOLDER`) or the"
            " configuration of tables (`spanlake extract --config conf/extract_small.yml`)"
        )
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    tables = open_tables(config.tables, "spanlake extract")
    extract_tables(
        tables, config, step=arguments.step or "all", publish=arguments.publish,
        retry=arguments.retry == "quarantined", wait=arguments.wait,
    )  # fmt: skip
    return 0


def extract_folder(arguments: argparse.Namespace) -> int:
    """Write a brat file for every note of a folder, in this process."""
    config = load_config(EvaluateConfig, arguments.config, arguments.overrides)
    codec = codec_of(arguments.encoding)
    extractor = load_extractor(config.extractor)
    failed = annotate_folder(arguments.notes, arguments.to, extractor, codec)
    for note_id, error_class in failed.items():
        surrogate = error_class == "UnicodeEncodeError"
        reason = ": a lone surrogate, which is no character: mend the file" * surrogate
        sys.stderr.write(f"failed: {note_id} ({error_class}){reason}\n")
    if "UnicodeDecodeError" in failed.values():
        sys.stderr.write(
            f"not {arguments.encoding}: give another --encoding, as cp1252 or utf-16\n"
        )
    return 1 if failed else 0


def extract_tables(tables: Any, config: ExtractConfig, step: Any = "all", **options: bool) -> None:
    """Run a step over the tables, and print what it did."""
    from spanlake.spark.extract import extract, summary

    facts = extract(tables, config, step, **options)
    if config.tables.database is not None:  # the views of a folder would end with this session
        tables.register_views()
    if step not in ("plan", "abandon"):
        print_table("extracted", summary(tables, facts))
    sys.stdout.write(conclusion(facts, step))


def conclusion(facts: Mapping[str, Any], step: str) -> str:
    """Return the last line of an extract run: what to do next, if there is something to do."""
    plan = facts.get("plan_id")
    if step == "abandon":
        return f"gave up plan {plan}: its answers are kept, its notes are planned anew\n"
    if step == "plan" and plan is None:
        return "nothing to plan: every note has its status for this pipeline\n"
    if step == "plan":
        return f"planned {facts['units']} units as {plan}: go on with --step infer, then derive\n"
    if not facts.get("published", True):
        return "the views show another pipeline's rows: --publish shows this one's\n"
    return ""


# ingest, update, query


def add_ingest(verbs: Any) -> None:
    add_verb(
        verbs, "ingest", run_ingest, "bring the table `notes` in step with a source",
        "  spanlake ingest --config conf/ingest_csv.yml --set source.path=notes.csv",
        "conf/ingest_*.yml", [IngestConfig], required=True,
    )  # fmt: skip


def run_ingest(arguments: argparse.Namespace) -> int:
    config = load_config(IngestConfig, arguments.config, arguments.overrides)
    tables = open_tables(config.tables, "spanlake ingest")
    counts = ingest_tables(tables, config)
    from spanlake.spark.ingest import CHANGES, length_percentiles

    if config.tables.database is not None:
        tables.register_views()
    if any(counts[f"notes_{change}"] for change in CHANGES):
        print_table("characters per note", length_percentiles(tables))
    return 0


def ingest_tables(tables: Any, config: IngestConfig) -> dict[str, int]:
    """Ingest a source, record the run, and print and return its counts."""
    from spanlake.spark.ingest import facts_of, ingest
    from spanlake.spark.runs import Run

    tables.require_layout()
    with Run(tables, "ingest", config) as run:
        counts = ingest(tables, config)
        run.facts |= facts_of(counts)
    print_table("ingested", counts)
    return counts


def add_update(verbs: Any) -> None:
    parser = add_verb(
        verbs, "update", run_update, "ingest a source and extract what is new, in one session",
        "  spanlake update --ingest conf/ingest_jsonl.yml --extract conf/extract_small.yml",
    )  # fmt: skip
    for name in ("ingest", "extract"):
        parser.add_argument(
            f"--{name}", type=Path, required=True, metavar="FILE", help=f"conf/{name}_*.yml"
        )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override one key of the configurations that have it; may be repeated",
    )  # fmt: skip


def run_update(arguments: argparse.Namespace) -> int:
    source = load_config(IngestConfig, arguments.ingest, _overrides_of(IngestConfig, arguments))
    config = load_config(ExtractConfig, arguments.extract, _overrides_of(ExtractConfig, arguments))
    places = [(part.tables.location, part.tables.database) for part in (source, config)]
    if places[0] != places[1]:
        raise ConfigError(
            f"{arguments.ingest} and {arguments.extract} name different tables: set the same"
            " tables.location or tables.schema in both (--set tables.location=... sets both)"
        )
    tables = open_tables(config.tables, "spanlake update")
    ingest_tables(tables, source)
    extract_tables(tables, config, wait=not sys.stdin.isatty())
    return 0


def _overrides_of(
    kind: type[IngestConfig | ExtractConfig], arguments: argparse.Namespace
) -> list[str]:
    """Return the overrides of one of two configurations: those whose first key the other lacks."""
    other = ExtractConfig if kind is IngestConfig else IngestConfig
    foreign = set(other.model_fields) - set(kind.model_fields)
    return [o for o in arguments.overrides if o.split("=")[0].split(".")[0] not in foreign]


def add_query(verbs: Any) -> None:
    parser = add_verb(
        verbs, "query", run_query, "print the result of a SQL query on the tables",
        '  spanlake query --config conf/extract_demo.yml "SELECT * FROM current_entities"\n'
        "  spanlake query --config conf/extract_demo.yml --file sql/entities_per_label.sql",
        "conf/extract_*.yml, for its tables", required=True,
    )  # fmt: skip
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("sql", nargs="?", metavar="SQL", help="a query, in quotes")
    query.add_argument("--file", type=Path, help="a file that holds one, for instance of sql/")
    parser.add_argument("--limit", type=int, default=20, help="rows to print; default: 20")


def run_query(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    sql = arguments.sql if arguments.file is None else _read_query(arguments.file)
    tables = open_tables(config.tables, "spanlake query")
    tables.require_layout()
    tables.use()
    show_query(tables, sql, arguments.limit, CELL_WIDTH)
    return 0


def show_query(tables: Any, sql: str, limit: int, width: int) -> None:
    """Print the first rows of a query's result; raises ConfigError in one line for a wrong query.

    Spark's own log is silent meanwhile: of a value that does not fit it quotes the value.
    """
    from spanlake.spark.sql_errors import clear_errors, silence_spark_log

    hint = "the columns are in docs/tables.md; try_cast gives null for a value that does not fit"
    with silence_spark_log(tables.spark), clear_errors("query", hint):
        tables.spark.sql(QUERY_END.sub("", sql)).show(limit, truncate=width)


def _read_query(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no query can be read ({type(error).__name__})") from None


# evaluate, compare


def add_evaluate(verbs: Any) -> None:
    parser = add_verb(
        verbs, "evaluate", run_evaluate, "score a model, or a folder of .ann files",
        "  spanlake evaluate --gold GOLD_FOLDER --json scores.json\n"
        "  spanlake evaluate --gold GOLD_FOLDER --predicted OUT_FOLDER --errors errors.jsonl\n"
        "  spanlake evaluate --gold notes.jsonl --config conf/extract_base.yml",
        "conf/extract_*.yml, of which the extractor is used; default: the bundled model",
        [EvaluateConfig],
    )  # fmt: skip
    add_gold(parser)
    add_outputs(parser)
    parser.add_argument(
        "--store", action="store_true",
        help="write gold_entities, gold_relations and scores to the tables of the configuration"
        " (needs Spark; default of jobs/evaluate.py where it names tables)",
    )  # fmt: skip


def run_evaluate(arguments: argparse.Namespace) -> int:
    if arguments.predicted and arguments.config:
        raise ConfigError("give --predicted (a folder) or --config (a model), not both")
    config = load_config(EvaluateConfig, arguments.config, arguments.overrides)
    labels = load_labels(config.extractor.labels)
    validate_options(arguments, labels)
    codec = codec_of(arguments.encoding)
    if arguments.predicted:
        evaluation = evaluate_folder(arguments.gold, arguments.predicted, labels, codec)
    else:
        evaluation = evaluate_extractor(arguments.gold, load_extractor(config.extractor), codec)
    write_reports(evaluation, arguments)
    if arguments.store and config.tables is not None:
        model = None if arguments.predicted else model_fingerprint(config.extractor)
        _store_scores(arguments.gold, config, config.tables, evaluation, model)
    return 0


def _store_scores(
    gold: Path,
    config: EvaluateConfig,
    place: TablesConfig,
    evaluation: Evaluation,
    model: str | None,
) -> None:
    tables = open_tables(place, "spanlake evaluate")
    from spanlake.spark.evaluate import store_gold, store_scores
    from spanlake.spark.runs import Run

    corpus = "/".join(gold.resolve().parts[-2:])
    with Run(tables, "evaluate", config, model_fingerprint=model) as run:
        store_gold(tables, corpus, [note.gold for note in evaluation.notes], evaluation.labels)
        store_scores(tables, evaluation.scores, run_id=run.run_id, corpus=corpus, model=model)


def add_compare(verbs: Any) -> None:
    parser = add_verb(
        verbs, "compare", run_compare, "print what one run gains over another, with intervals",
        "  spanlake compare counts_a.json counts_b.json\n"
        "  spanlake compare OUT_A OUT_B --gold GOLD_FOLDER --to changes.jsonl",
    )  # fmt: skip
    parser.add_argument(
        "run_path", metavar="ours", type=Path,
        help="the run whose gains are printed: a file of `evaluate --notes` or `crossvalidate`, or"
        " with --gold a folder of .ann files",
    )  # fmt: skip
    parser.add_argument(
        "baseline_path", metavar="theirs", type=Path, help="the run that it is compared with"
    )
    parser.add_argument("--gold", type=Path, help="gold notes: then the two are .ann folders")
    parser.add_argument("--encoding", default="utf-8", help=ENCODING_HELP)
    parser.add_argument("--labels", default="kiwi", help="label set of the folders")
    parser.add_argument("--to", type=Path, help="with --gold: write a JSON line a changed entity")


def run_compare(arguments: argparse.Namespace) -> int:
    from spanlake.scoring.bootstrap import differences, lines, of_notes, read_notes  # numpy

    both = (arguments.run_path, arguments.baseline_path)
    if arguments.to:
        check_file(arguments.to)
    if arguments.gold:
        labels, codec = load_labels(arguments.labels), codec_of(arguments.encoding)
        run, baseline = (evaluate_folder(arguments.gold, folder, labels, codec) for folder in both)
        for problem in dict.fromkeys([*run.report.problems, *baseline.report.problems]):
            sys.stderr.write(f"{problem}\n")
        gains = differences(of_notes(run.by_note), of_notes(baseline.by_note))
    elif arguments.to:
        raise ConfigError("--to needs --gold: which entities changed is not in counts by note")
    else:
        gains = differences(*map(read_notes, both))
    sys.stdout.write("points gained, 95 % interval over notes, * where 0 is outside\n")
    sys.stdout.write(lines(gains, signed=True) + "\n")
    if arguments.gold:
        changed = changes(run.notes, baseline.notes, run.labels)
        sys.stdout.write("\n" + change_lines(changed))
        if arguments.to is not None:
            write_rows(arguments.to, change_rows(changed))
    return 0


# train, crossvalidate, distil


def add_train(verbs: Any) -> None:
    add_verb(
        verbs, "train", run_train, "train a model on annotated notes, on this machine",
        "  spanlake train --config conf/train_tagger.yml --set model=PATH_OR_NAME\n\n"
        "A training that was killed resumes from its last checkpoint. With several GPUs:\n"
        "`accelerate launch jobs/train.py ...` (a tagger only); max_tokens_per_batch is per GPU.",
        "conf/train_*.yml", [BertTrainConfig, TaggerTrainConfig, LlamaTrainConfig], required=True,
    )  # fmt: skip


def run_train(arguments: argparse.Namespace) -> int:
    config = load_train_config(arguments.config, arguments.overrides)
    from spanlake.training.bert import train_bert
    from spanlake.training.examples import read_gold
    from spanlake.training.leakage import require_valid_eval_notes
    from spanlake.training.run_dir import is_main_process
    from spanlake.training.tagger import train_tagger

    labels = load_labels(config.labels)
    notes = read_gold(config.train_folders, labels)
    eval_notes = read_gold([Path(config.eval_data)], labels) if config.eval_data else []
    require_valid_eval_notes(notes, eval_notes, config.model)
    if isinstance(config, BertTrainConfig):
        metrics = train_bert(notes, eval_notes, config)
    elif isinstance(config, TaggerTrainConfig):
        metrics = train_tagger(notes, eval_notes, config)
    elif isinstance(config, LlamaTrainConfig):
        from spanlake.training.qlora import train_llama

        metrics = train_llama(notes, eval_notes, config)
    return print_training(metrics, config.output_dir) if is_main_process() else 0


def print_training(metrics: Mapping[str, Any], output_dir: str) -> int:
    """Print what a training reports and where its model is; return the exit code of success."""
    sys.stdout.write(f"{json.dumps(metrics, indent=2)}\nmodel: {output_dir}\n")
    return 0


def add_crossvalidate(verbs: Any) -> None:
    parser = add_verb(
        verbs, "crossvalidate", run_crossvalidate,
        "train a tagger per fold, and score every note with the model that has not seen it",
        "  spanlake crossvalidate --config conf/train_folds.yml --folds FOLDS.tsv\n\n"
        "FOLDS.tsv has the columns note_id and fold. Finished folds are not trained again. Writes\n"
        "calibration.json (temperatures, for `calibration:` of a configuration) and notes.json\n"
        "(counts per note of calibrated predictions, for `spanlake compare`).\n"
        "`{fold}` in `model` stands for the number of the fold.",
        "conf/train_*.yml of kind: tagger", [TaggerTrainConfig], required=True,
    )  # fmt: skip
    parser.add_argument("--folds", type=Path, required=True, help="tab-separated note_id and fold")
    parser.add_argument(
        "--only", type=int, nargs="+", default=[], metavar="K",
        help="folds to train and score; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--with", dest="others", type=Path, nargs="*", default=[], metavar="DIR",
        help="folders of other runs over the same folds, to read with as ensembles",
    )  # fmt: skip
    parser.add_argument(
        "--context", type=int, choices=range(9), default=0, metavar="N",
        help="neighbouring sentences to read on each side; default: none",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder of the results; default: output_dir")


def run_crossvalidate(arguments: argparse.Namespace) -> int:
    if arguments.out is None and (arguments.only or arguments.others or arguments.context):
        raise ConfigError(
            "--only, --with and --context need --out: `output_dir` keeps the scores of all folds"
        )
    config = load_train_config(arguments.config, arguments.overrides)
    if not isinstance(config, TaggerTrainConfig):
        raise ConfigError("only kind: tagger is trained by folds")
    from spanlake.scoring import reliability
    from spanlake.scoring.bootstrap import intervals, lines, of_notes, write_notes
    from spanlake.scoring.outcomes import score_outcomes
    from spanlake.scoring.scores import table
    from spanlake.training import crossvalidation, run_dir
    from spanlake.training.examples import read_gold

    labels, context = load_labels(config.labels), arguments.context
    out = arguments.out or Path(config.output_dir)
    folders = (*config.train_folders, *([Path(config.eval_data)] if config.eval_data else []))
    notes, fold_of = read_gold(folders, labels), crossvalidation.read_folds(arguments.folds)
    if 2 * context >= config.max_packed_sentences:
        raise ConfigError(
            f"--context {context} needs models trained with max_packed_sentences"
            f" {2 * context + 1} or more, found {config.max_packed_sentences}"
        )
    numbers = crossvalidation.fold_numbers(notes, fold_of, arguments.only)
    crossvalidation.validate_members(notes, fold_of, numbers, arguments.others, labels, context)
    out.mkdir(parents=True, exist_ok=True)  # before hours of training

    folds = crossvalidation.train_folds(notes, fold_of, config, arguments.only)
    folds = crossvalidation.as_ensembles(folds, arguments.others)
    folds = [crossvalidation.with_context(fold, context) for fold in folds]
    calibration = crossvalidation.calibrate(folds, labels)
    run_dir.write_json(out / "calibration.json", calibration.as_dict())

    scored = crossvalidation.out_of_fold(folds, calibration)
    evaluation = Evaluation(labels, scored, ReadReport())
    by_note = of_notes(evaluation.by_note)
    write_notes(by_note, out / "notes.json")
    outcomes = score_outcomes(evaluation.notes, labels)
    sys.stdout.write(
        f"{table(evaluation.scores)}\n{lines(intervals(by_note))}\n\n"
        f"calibrated on the same notes: {calibration}\n{reliability.lines(outcomes)}\n"
    )
    return 0


def add_distil(verbs: Any) -> None:
    add_verb(
        verbs, "distil", run_distil,
        "train a small tagger on the predictions of an ensemble for unlabelled notes",
        "  spanlake distil --config conf/distil_small.yml\n\n"
        "A training that was killed resumes. The student is finetuned on annotated notes:\n"
        "`spanlake train --set model=FOLDER`.",
        "conf/distil_*.yml", [DistilConfig], required=True,
    )  # fmt: skip


def run_distil(arguments: argparse.Namespace) -> int:
    config = load_config(DistilConfig, arguments.config, arguments.overrides)
    from spanlake.training.distillation import distil

    return print_training(distil(config), config.output_dir)


# maintain, purge


def add_maintain(verbs: Any) -> None:
    parser = add_verb(
        verbs, "maintain", run_maintain, "compact the tables, name open plans, delete old files",
        "Open plans are named: extract with their configuration ends them, --abandon gives them up."
        "\n\n  spanlake maintain --config conf/extract_small.yml [--abandon all] [--upgrade]",
        "conf/extract_*.yml, for its tables", required=True,
    )  # fmt: skip
    parser.add_argument(
        "--vacuum-hours", type=_hours, metavar="N", help="delete files unused for so long;"
        " default: 720, as long as an open plan may need them",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--abandon", metavar="PLAN_ID|all", help="give up an open plan whose run is dead, or all"
    )
    what.add_argument(
        "--upgrade", action="store_true",
        help="rewrite tables of an older layout, once, and do nothing else; no text is read again",
    )  # fmt: skip


def _hours(given: str) -> int:
    if not given.isdecimal():
        raise argparse.ArgumentTypeError(f"a number of hours is expected, found {given!r}")
    return int(given)


def run_maintain(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    tables = open_tables(config.tables, "spanlake maintain")
    from spanlake.spark.maintain import RETENTION_HOURS, maintain, upgrade

    if arguments.upgrade:
        sys.stdout.write(
            "upgraded: run extract next, which derives everything anew and reads no text again\n"
            if upgrade(tables)
            else "nothing to upgrade: the tables are of the present layout\n"
        )
        return 0
    given = arguments.vacuum_hours
    hours = RETENTION_HOURS if given is None else given
    print_table("maintained", maintain(tables, config, hours=hours, abandon=arguments.abandon))
    return 0


def add_purge(verbs: Any) -> None:
    parser = add_verb(
        verbs, "purge", run_purge, "erase what is left of deleted and edited texts",
        "First delete or mend the notes at the source, and ingest (docs/privacy.md).\n\n"
        "  spanlake purge --config conf/extract_small.yml [--answers] [--vacuum-now]",
        "conf/extract_*.yml, for its tables", required=True,
    )  # fmt: skip
    parser.add_argument(
        "--answers", action="store_true",
        help="delete the model's answers to such texts as well; they hold no text",
    )  # fmt: skip
    parser.add_argument(
        "--vacuum-now", action="store_true",
        help="delete the files that held the rows at once, and with them all older versions: no"
        " other job may read or write the tables meanwhile",
    )  # fmt: skip


def run_purge(arguments: argparse.Namespace) -> int:
    config = load_config(ExtractConfig, arguments.config, arguments.overrides)
    tables = open_tables(config.tables, "spanlake purge")
    from spanlake.spark.maintain import purge

    done = purge(tables, config, answers=arguments.answers, now=arguments.vacuum_now)
    print_table("purged", done)
    return 0


# demo


def add_demo(verbs: Any) -> None:
    add_verb(
        verbs, "demo", run_demo, "run the job on the bundled notes, and query the tables",
        "Needs conf/ and sql/ of the repository in the working directory.",
    )  # fmt: skip


def run_demo(arguments: argparse.Namespace) -> int:
    source = load_config(IngestConfig, "conf/ingest_demo.yml")
    config = load_config(ExtractConfig, "conf/extract_demo.yml")
    tables = open_tables(config.tables, "spanlake demo")
    ingest_tables(tables, source)
    extract_tables(tables, config)
    tables.use()
    for name in DEMO_QUERIES:
        path = Path("sql") / f"{name}.sql"
        title = _read_query(path).splitlines()[0].removeprefix("-- ")
        sys.stdout.write(f"\n{path}: {title}\n")
        sys.stdout.flush()
        show_query(tables, _read_query(path), limit=8, width=40)
    return 0


if __name__ == "__main__":
    sys.exit(main())
