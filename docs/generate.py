"""Write the reference pages that are made from the code (`make docs`).

docs/cli.md is made from the parser, docs/configuration.md from the classes of `spanlake.config`,
docs/tables.md from `spanlake.spark.schemas`.
"""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal's width

import yaml
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spanlake.cli import build_parser
from spanlake.config.extract import EvaluateConfig, ExtractConfig, IngestConfig
from spanlake.config.extractors import AnyExtractor
from spanlake.config.train import KINDS, DistilConfig, TrainConfig
from spanlake.spark.schemas import TABLES, Table

FOLDER = Path(__file__).resolve().parent
WIDTH = 100
HARD_SPACE = "\0"
TYPES = {str: "text", int: "whole number", float: "number", bool: "true / false"}
LIMITS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}

CONFIGURATION = """\
# Configuration

For: whoever runs a job. Kind: reference, generated from the code (`make docs`).

A configuration is one YAML file. `conf/` holds examples to copy. A dot stands for a section:
`source.path` is `path` under `source:`.

- `--set source.path=notes.csv` overrides one key; the option may be repeated. The value is YAML
  with two exceptions: `#` starts no comment (`--set "source.path=notes #2.csv"`), and a punctuation
  mark alone is itself (`--set source.delimiter=,`). `--set source.quote=null` unsets a key.
- Everything is checked before Spark starts. An unknown key is refused with the nearest known key, a
  key of an earlier version with its new name, a key that occurs twice with its line, and a missing
  file with the nearest name.
- In the tables, the default `required` means that the key has to be given, `none` that the key is
  not set.

What a source may be, and what an ingest refuses: docs/own-notes.md.
"""
TABLES_HEAD = """\
# Tables

For: whoever queries the tables. Kind: reference, generated from the code (`make docs`).

## Offsets and ids

Offsets are note-absolute, 0-based, end-exclusive, in Unicode code points of `note_text` exactly as
stored: `substring(note_text, start + 1, end - start) = text`. `sql/offset_violations.sql` checks
this for the whole table. Ids are the first 32 hex digits of a SHA-256 over what identifies the row,
so a re-run gives the same ids.

## Views
"""
VIEWS = (
    (
        "`current_entities`, `current_relations`, `current_note_status`",
        "rows of the published pipeline for the texts that `notes` holds now",
    ),
    ("`sentences`", "sentences of the published pipeline, cut out of `notes`"),
    (
        "`timings`",
        "one row for each task that read something, from the same commit as its answers (seconds"
        " are wall clock)",
    ),
    ("`quarantine`", "notes that failed"),
    (
        "`unprocessed_notes`",
        "`note_id`, `patient_id`, `note_type` and `chars` of notes without a row in"
        " `current_note_status`: new, edited, or left out by `where` of an extraction",
    ),
)
VIEWS_AND_CHANGES = """\
The tables hold the rows of every pipeline (model, splitter, rules) that has read the notes, by
`pipeline_fingerprint`. The current views show one of them, the published pipeline, and leave out
rows of texts that were edited or removed since.

The first pipeline is published. Its successor (the same section `extractor`, newer code or weights)
is published when it has finished every note that the published one has. `jobs/extract.py --publish`
publishes any other.

The views show the rows of a note once the note has a terminal status of the plan that wrote them.
Of two plans, they show the rows of the later one. `patient_id`, `encounter_id`, `note_type` and
`note_datetime` are the current values of `notes`.

In a catalog they are views of the schema. In a folder, `Tables.register_views()` makes them, and
the tables, temporary views of the session.

## Changes and constraints

A table of an earlier version gets new columns, and new fields of structs, when a job first writes
to it. Older rows have nulls there.

No CHECK constraint looks at a text column, because Delta prints the values of a row that violates
one.
"""


def cli_page() -> str:
    """Return the help of `spanlake` and of every verb as one page."""
    parser = build_parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {action.dest: str(action.help) for action in verbs._choices_actions}
    parts = [
        "# Command line\n\nFor: whoever runs a command. Kind: reference, generated from the code"
        " (`make docs`).\n",
        f"```\n{parser.format_help().rstrip()}\n```\n",
    ]
    for name, verb in verbs.choices.items():
        if name in helps:  # an alias is not listed by itself
            parts.append(f"## {name}\n\n```\n{verb.format_help().rstrip()}\n```\n")
    return "\n".join(parts)


def configuration_page() -> str:
    """Return the keys of all configurations, with the docstrings of their classes, as one page."""
    section = "extractor"
    extractors = sections_of(ExtractConfig.model_fields[section].annotation)
    return "\n".join(
        [
            CONFIGURATION,
            *keys("## Ingest", IngestConfig),
            *keys("## Extract", ExtractConfig),
            *keys("### Extract: every kind of extractor", AnyExtractor, prefix=f"{section}."),
            *kinds("Extract", extractors, AnyExtractor, prefix=f"{section}."),
            *keys("## Evaluate", EvaluateConfig, base=ExtractConfig),
            *keys("## Train", TrainConfig),
            *kinds("Train", dict.fromkeys(KINDS.values()), TrainConfig),
            *keys("## Distil", DistilConfig),
        ]
    )


def kinds(
    verb: str, models: Iterable[type[BaseModel]], base: type[BaseModel], prefix: str = ""
) -> Iterator[str]:
    """Yield a section for each kind of model."""
    for model in models:
        names = get_args(model.model_fields["kind"].annotation)
        yield from keys(f"### {verb}: `kind: {'`, `'.join(names)}`", model, base, prefix)


def keys(
    heading: str, model: type[BaseModel], base: type[BaseModel] | None = None, prefix: str = ""
) -> Iterator[str]:
    """Yield a section: its heading, the docstring, and the rows of keys that differ from `base`."""
    known = set(key_rows(base, prefix)) if base else set()
    rows = [row for row in key_rows(model, prefix) if row not in known]
    rows.sort(key=lambda row: row[0] != f"`{prefix}kind`")  # the kind first
    yield f"{heading}\n\n{paragraphs(model.__doc__ or '')}\n"
    yield table(("key", "type", "default", "meaning"), rows)


def key_rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Yield key, type, default and meaning of every key; those of its sections included.

    The kinds of an extractor have tables of their own.
    """
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        type_name = with_limits(type_of(field.annotation), field.metadata)
        yield f"`{key}`", type_name, default_of(field), field.description or ""
        inside = f"{key}.COLUMN." if get_origin(field.annotation) is dict else f"{key}."
        for section in sections_of(field.annotation):
            if not issubclass(section, AnyExtractor):
                yield from key_rows(section, inside)


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the classes of sections that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(s for part in get_args(annotation) for s in sections_of(part)))


def type_of(annotation: Any) -> str:
    """Return the type of a key in the words of its YAML."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [m for part in parts[1:] for m in getattr(part, "metadata", ())]
        return with_limits(type_of(parts[0]), limits)
    if origin is Literal:
        return " / ".join(map(str, parts))
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_of(part) for part in parts if part is not NoneType))
    if origin is tuple:
        return f"list of {type_of(parts[0]).replace('number', 'numbers', 1)}"
    if origin is dict:
        return f"mapping to {type_of(parts[1])}"
    return TYPES.get(annotation, "section")


def with_limits(name: str, limits: Iterable[Any]) -> str:
    """Return the name of a type with the limits that pydantic has for it."""
    parts = [name]
    for limit in limits:
        if isinstance(limit, MinLen):
            parts.append("not empty")
        elif type(limit) in LIMITS:
            words, attribute = LIMITS[type(limit)]
            parts.append(f"{words} {getattr(limit, attribute)}")
    return ", ".join(parts)


def default_of(field: FieldInfo) -> str:
    """Return the default of a key as YAML has it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"{{kind: {value.kind}}}"  # type: ignore[attr-defined]
    return "none" if value is None else yaml.safe_dump(value).split("\n")[0]


def tables_page() -> str:
    """Return all tables with their columns, keys, partitions and constraints as one page."""
    views = table(("view", "rows"), VIEWS)
    tables = [part for name, content in TABLES.items() for part in columns(name, content)]
    return "\n".join([TABLES_HEAD, views, VIEWS_AND_CHANGES, *tables])


def columns(name: str, content: Table) -> Iterator[str]:
    """Yield a section: the description of a table, how it is laid out, and its columns."""
    facts = [f"Key: {in_code(content.key)}."]
    if content.partitioned_by:
        facts.append(f"Partitioned by {in_code(content.partitioned_by)}.")
    if content.checks:
        facts.append(f"Constraints: {in_code(check for _, check in content.checks)}.")
    yield f"## `{name}`\n\n{paragraphs(content.description)}\n\n{paragraphs(' '.join(facts))}\n"
    yield table(
        ("column", "type", "null", "meaning"),
        [
            (
                f"`{field.name}`",
                f"`{field.dataType.simpleString()}`",
                "yes" if field.nullable else "no",
                field.metadata.get("comment", ""),
            )
            for field in content.schema
        ],
    )


def in_code(names: Iterable[str]) -> str:
    """Return names in Markdown's code marks, without the backticks of SQL."""
    return ", ".join(f"`{name.replace('`', '')}`" for name in names)


def paragraphs(text: str) -> str:
    """Return the paragraphs of a docstring, wrapped, but not within code."""
    lines = []
    for paragraph in text.split("\n\n"):
        line = " ".join(paragraph.split())
        line = re.sub("`[^`]+`", lambda code: code[0].replace(" ", HARD_SPACE), line)
        wrapped = textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)
        lines.append(wrapped.replace(HARD_SPACE, " "))
    return "\n\n".join(lines)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [" | ".join(cell.replace("|", r"\|") for cell in row) for row in (heads, *rows)]
    lines = [f"| {line} |\n" for line in lines]
    return "".join([lines[0], "|---" * len(heads), "|\n", *lines[1:]])


PAGES = {"cli.md": cli_page, "configuration.md": configuration_page, "tables.md": tables_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
