"""Read notes from where they are: CSV, JSON lines, Parquet, Delta, text files, OMOP NOTE.

Every reader returns the source's columns as they are named there; `notes_from` maps them to ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import PurePosixPath

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spanlake.config.extract import Expression, SourceConfig
from spanlake.core.types import NOTE_COLUMNS
from spanlake.errors import ConfigError, DataError
from spanlake.spark.casts import cast_to
from spanlake.spark.files import Files, Reader, is_hidden, source_files
from spanlake.spark.readers import (
    UNREADABLE,
    csv_header,
    csv_rows,
    json_keys,
    json_rows,
    text_reader,
)
from spanlake.spark.sql_errors import LONGEST, clear_errors, named, on_one_line
from spanlake.text.csv_records import Dialect

TAKEN, FAULT, PLACE = "taken", "spanlake_fault", "spanlake_place"
OMOP = {  # NOTE, CDM 5.4
    "note_id": "note_id",
    "note_text": "note_text",
    "patient_id": "person_id",
    "encounter_id": "visit_occurrence_id",
    "note_type": "note_title",
    "note_datetime": "note_datetime",
}
SUFFIXES = {"csv": (".csv", ".tsv"), "jsonl": (".jsonl", ".ndjson", ".json")}
PACKED = (".gz", ".bz2")
DELIMITERS = {";": ";", "\t": "tab", "|": "pipe", ",": ","}
MOST_TOLD, MOST_PLACES = 5, 5


@dataclass(frozen=True)
class _Source:
    """A source's rows by its own columns, and which columns only some of its files have."""

    frame: DataFrame
    lacking: dict[str, list[str]] = field(default_factory=dict)  # column: files without it
    headers: Sequence[list[str]] = ()  # of CSV

    def hint(self) -> str:
        """Return which columns are not those of every file, for an error about a column."""
        hints = [f"{named([name])} is not in {files[0]}" for name, files in self.lacking.items()]
        return f" (not every file has all columns: {', '.join(hints[:MOST_TOLD])})" if hints else ""


def notes_from(spark: SparkSession, source: SourceConfig) -> DataFrame:
    """Return every row of the source with our columns, all strings, its FAULT, whether it is TAKEN.

    Text is not touched. Every action reads the source anew: a caller counts the faults with what
    else it counts, and calls `refuse_faults` when there are any.
    Raises ConfigError for a source or a column that is not there, and DataError for a header that
    cannot be read.
    """
    place = f"source {source.path or source.table}"
    with clear_errors(place, f"check its name, and that it is {source.format}"):
        source_rows = _read(spark, source)
    return _in_our_columns(source_rows, source)


def conditions(source: SourceConfig) -> tuple[str, str | None]:
    """Return what to call the SQL that the source's configuration holds, and whether it has any."""
    keys = [f"source.columns.{k}" for k, v in source.columns.items() if isinstance(v, Expression)]
    keys = ["source.where"] * (source.where is not None) + keys
    return " or ".join(keys), " ".join(keys) or None


def _read(spark: SparkSession, source: SourceConfig) -> _Source:
    if source.table is not None:
        return _Source(spark.read.table(source.table))
    path, encoding = str(source.path), source.encoding
    doubled = source.escape in (None, source.quote)
    dialect = Dialect(source.delimiter, source.quote, None if doubled else source.escape)
    if source.format == "text":
        return _Source(_read_text(spark, path, encoding))
    if source.format == "jsonl":
        return _read_jsonl(spark, path, encoding, _names(source))
    if source.format == "csv" or (source.format == "omop" and ".csv" in path.lower()[-8:]):
        return _read_csv(spark, path, encoding, dialect)
    kind = "parquet" if source.format == "parquet" else "delta"
    return _Source(spark.read.format(kind).load(path))


def _read_text(spark: SparkSession, path: str, encoding: str) -> DataFrame:
    """Read the `.txt` files of a folder, one note each: newlines and marks untouched."""
    files = source_files(spark, path, lambda name: PurePosixPath(name).suffix.lower() == ".txt")
    return _rows(files, text_reader(encoding), ["note_id", "note_text"])


def _read_csv(spark: SparkSession, path: str, encoding: str, dialect: Dialect) -> _Source:
    """Read the files by their headers: the columns that all of them have, in any order."""
    files = source_files(spark, path, _is_data("csv"))
    headers = _columns(files, csv_header(encoding, dialect))
    first = next(iter(headers.values()))
    shared = [name for name in first if name and all(name in h for h in headers.values())]
    all_names = dict.fromkeys(name for header in headers.values() for name in header if name)
    lacking = {
        name: [file for file, header in headers.items() if name not in header]
        for name in all_names
        if name not in shared
    }
    frame = _rows(files, csv_rows(encoding, dialect, shared), shared)
    return _Source(frame, lacking, list(headers.values()))


def _read_jsonl(spark: SparkSession, path: str, encoding: str, texts: Sequence[str]) -> _Source:
    """Read one object a line: the keys that any of them has, and null where there is none."""
    files = source_files(spark, path, _is_data("jsonl"))
    keys = _columns(files, json_keys(encoding))
    names = list(dict.fromkeys(key for some in keys.values() for key in some))
    if not names:
        raise DataError(f"source {path}: no rows: nothing has been written")
    return _Source(_rows(files, json_rows(encoding, names, texts), names))


def _is_data(kind: str) -> Callable[[str], bool]:
    """Tell which files of a folder are read: all, but `_SUCCESS` and the like of other jobs."""

    def is_data(path: str) -> bool:
        name = PurePosixPath(path.lower())
        name = name.with_suffix("") if name.suffix in PACKED else name
        return name.suffix in SUFFIXES[kind] or not is_hidden(path)

    return is_data


def _rows(files: list[Files], reader: Reader, columns: list[str]) -> DataFrame:
    schema = T.StructType([T.StructField(c, T.StringType()) for c in [*columns, FAULT, PLACE]])
    return reduce(lambda a, b: a.unionByName(b), [part.rows(reader, schema) for part in files])


def _columns(files: list[Files], reader: Reader) -> dict[str, list[str]]:
    """Return the columns of each file by its name; raises DataError for files that have none."""
    headers = _rows(files, reader, ["file", "columns"]).collect()
    bad = sorted(row[PLACE] for row in headers if row[FAULT] is not None)
    if bad:
        raise DataError(
            f"{_counted(len(bad), UNREADABLE, bad[:MOST_PLACES])}; nothing has been written"
        )
    return {row["file"]: json.loads(row["columns"]) for row in sorted(headers)}


def _in_our_columns(source_rows: _Source, source: SourceConfig) -> DataFrame:
    """Return our columns of each row, and its fault: one of reading, or a value of a wrong kind."""
    raw = source_rows.frame
    if FAULT not in raw.columns:
        raw = raw.withColumns({name: F.lit(None).cast("string") for name in (FAULT, PLACE)})
    read = F.col(FAULT).isNull()
    taken = read & _where(raw, source, source_rows.hint())
    columns = _our_columns(raw, source, source_rows)
    values = {name: F.when(taken, value) for name, (value, _) in columns.items()}
    faults = [F.when(taken, fault) for _, fault in columns.values() if fault is not None]
    note_id = F.coalesce(F.make_valid_utf8(values["note_id"]), F.lit("null"))
    long = F.format_string("an id of %d characters", F.length(note_id))  # by a wrong column a text
    note = F.concat(F.lit("note "), F.when(F.length(note_id) > LONGEST, long).otherwise(note_id))
    with clear_errors("source.columns", "an expression gives one value a row"):
        return raw.select(
            *[value.alias(name) for name, value in values.items()],
            taken.alias(TAKEN),
            F.coalesce(F.col(FAULT), *faults).alias(FAULT),
            F.when(read, note).otherwise(F.col(PLACE)).alias(PLACE),
        )


def _where(raw: DataFrame, source: SourceConfig, hint: str) -> Column:
    if source.where is None:
        return F.lit(True)
    with clear_errors("source.where", f"it is SQL on the source's own columns{hint}"):
        raw.where(source.where)
    return F.coalesce(F.expr(source.where), F.lit(False))


def _our_columns(
    raw: DataFrame, source: SourceConfig, source_rows: _Source
) -> dict[str, tuple[Column, Column | None]]:
    """Return each of our columns, and what is wrong with its values (null: nothing)."""
    mapped = _mapped(source)
    missing = sorted(name for name in _names(source) if name not in raw.columns)
    if missing:
        raise ConfigError(_missing(missing, raw, source, source_rows))
    columns: dict[str, tuple[Column, Column | None]] = {}
    for column_name in NOTE_COLUMNS:
        source_column = mapped.get(column_name)
        if source_column is None:
            columns[column_name] = F.lit(None).cast("string"), None
            continue
        key = f"source.columns.{column_name}"
        with clear_errors(key, f"it is SQL on the source's own columns{source_rows.hint()}"):
            column = _column(source_column)
            kind = raw.select(column.alias(column_name)).schema[0].dataType
        columns[column_name] = cast_to(column_name, column, kind)
    return columns


def _mapped(source: SourceConfig) -> dict[str, str | Expression]:
    defaults = {"note_id": "note_id", "note_text": "note_text"}
    return {**(OMOP if source.format == "omop" else defaults), **source.columns}


def _names(source: SourceConfig) -> list[str]:
    """Return the source's columns that ours are taken from as they are."""
    return [
        source_column
        for source_column in _mapped(source).values()
        if isinstance(source_column, str)
    ]


def _column(source_column: str | Expression) -> Column:
    if isinstance(source_column, Expression):
        return F.expr(source_column.sql)
    return F.col("`{}`".format(source_column.replace("`", "``")))


def _missing(missing: list[str], raw: DataFrame, source: SourceConfig, source_rows: _Source) -> str:
    partly = [name for name in missing if name in source_rows.lacking]
    if partly:
        files = source_rows.lacking[partly[0]]
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        return (
            f"source has no column {', '.join(partly)} in every file: {files[0]}{more} lacks"
            f" {partly[0]}, which others have. Leave out the files that lack it, or add it there"
        )
    single = [header[0] for header in source_rows.headers if len(header) == 1]
    if single:
        other = [name for mark, name in DELIMITERS.items() if mark in single[0]]
        guess = f": is the delimiter `{other[0]}`?" if other else ":"
        return (
            f"source has no column {', '.join(missing)}; a header has one column only{guess} set"
            f" source.delimiter (now `{DELIMITERS.get(source.delimiter, source.delimiter)}`)"
        )
    return (
        f"source has no column {', '.join(missing)}; it has"
        f" {named([name for name in raw.columns if name not in (FAULT, PLACE)])}."
        " Map them in source.columns, for instance `note_text: TEXT`"
    )


def refuse_faults(rows: DataFrame) -> None:
    """Raise DataError with counts, and files or notes by name, when something cannot be taken."""
    faulty = rows.where(F.col(FAULT).isNotNull())
    counts = faulty.groupBy(FAULT).count().orderBy(FAULT).limit(MOST_TOLD).collect()
    messages = []
    for row in counts:
        some = faulty.where(F.col(FAULT) == row[FAULT]).select(PLACE).orderBy(PLACE)
        places = [str(place_row[PLACE]) for place_row in some.limit(MOST_PLACES).collect()]
        messages.append(_counted(row["count"], row[FAULT], places))
    if messages:
        raise DataError("; ".join(messages) + "; nothing has been written")


def _counted(count: int, fault: str, places: Sequence[str]) -> str:
    more = ", ..." if count > len(places) else ""
    return f"{count} {fault}: {', '.join(map(on_one_line, places))}{more}"
