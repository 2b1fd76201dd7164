"""Read notes from where they are: CSV, JSON lines, Parquet, Delta, text files, OMOP NOTE.

Every reader returns the source's columns as they are named there; `notes_from` maps them to ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spanlake.core.config import SourceConfig
from spanlake.core.encodings import codec_of
from spanlake.core.errors import ConfigError, DataError
from spanlake.core.units import NOTE_COLUMNS
from spanlake.spark.clear import clear_errors, named

CORRUPT = "_corrupt_record"
OMOP = {  # NOTE, CDM 5.4
    "note_id": "note_id",
    "note_text": "note_text",
    "patient_id": "person_id",
    "encounter_id": "visit_occurrence_id",
    "note_type": "note_title",
    "note_datetime": "note_datetime",
}
TEXT_FILE = "note_id string, note_text string, undecodable boolean"


def notes_from(spark: SparkSession, source: SourceConfig) -> DataFrame:
    """Return the source's notes with our columns, all strings; text is not touched.

    Raises ConfigError for a source or a column that is not there, and DataError with counts
    for lines or files that cannot be read.
    """
    place = f"source {source.path or source.table}"
    with clear_errors(place, f"check its name, and that it is {source.format}"):
        raw = _read(spark, source)
    _refuse_corrupt(raw, source)
    raw = raw.drop(CORRUPT, "undecodable")
    if source.where:
        with clear_errors("source.where", "it is SQL on the source's own columns"):
            raw = raw.where(source.where)
    columns = _column_map(source)
    missing = [theirs for theirs in columns.values() if theirs not in raw.columns]
    if missing:
        raise ConfigError(
            f"source has no column {', '.join(sorted(missing))}; it has {named(raw.columns)}."
            " Map them in source.columns, for instance `note_text: TEXT`"
        )
    return raw.select(*[_string(columns.get(name)).alias(name) for name in NOTE_COLUMNS])


def _string(column: str | None) -> Column:
    quoted = None if column is None else F.col(f"`{column}`")
    return F.lit(None).cast("string") if quoted is None else quoted.cast("string")


def _column_map(source: SourceConfig) -> dict[str, str]:
    own = {"note_id": "note_id", "note_text": "note_text"}
    default = OMOP if source.format == "omop" else own
    return {**default, **source.columns}


def _read(spark: SparkSession, source: SourceConfig) -> DataFrame:
    if source.table is not None:
        return spark.read.table(source.table)
    path, encoding = str(source.path), codec_of(source.encoding)  # Java knows cp1252, not latin-1
    if source.format == "csv":
        return _read_csv(spark, path, encoding)
    if source.format == "jsonl":
        return _read_jsonl(spark, path, encoding)
    if source.format == "text":
        return _read_text(spark, path, encoding)
    if source.format == "parquet":
        return spark.read.parquet(path)
    if source.format == "omop" and path.lower().endswith((".csv", ".csv.gz")):
        return _read_csv(spark, path, encoding)
    return spark.read.format("delta").load(path)


def _read_csv(spark: SparkSession, path: str, encoding: str) -> DataFrame:
    """Read MIMIC's CSV: multi-line fields, doubled quotes, CRLF kept inside fields."""
    options: dict[str, bool | str] = {
        "header": True,
        "multiLine": True,
        "quote": '"',
        "escape": '"',
    }
    reader = spark.read.options(**options).option("encoding", encoding)
    # "" between quotes is an empty note, nothing between commas is a null
    reader = reader.option("nullValue", "\0")
    header = reader.csv(path).schema  # names only: without inferSchema all columns are strings
    schema = header.add(CORRUPT, "string")
    return reader.schema(schema).option("columnNameOfCorruptRecord", CORRUPT).csv(path)


def _read_jsonl(spark: SparkSession, path: str, encoding: str) -> DataFrame:
    reader = spark.read.option("encoding", encoding).option("primitivesAsString", True)
    return reader.option("columnNameOfCorruptRecord", CORRUPT).json(path)


def _read_text(spark: SparkSession, path: str, encoding: str) -> DataFrame:
    """Read a folder of `.txt` files, one note each: bytes decoded strictly, newlines untouched."""
    reader = spark.read.format("binaryFile").option("pathGlobFilter", "*.[tT][xX][tT]")
    files = reader.option("recursiveFileLookup", True).load(path).select("path", "content")
    return files.mapInArrow(_decoder(encoding), TEXT_FILE).unionByName(_empty_files(files))


def _empty_files(files: DataFrame) -> DataFrame:
    """Return the files of no bytes, which Spark lists but does not read: they are notes too."""
    listed = [(unquote(path),) for path in files.inputFiles()]
    names = files.sparkSession.createDataFrame(listed, "path string")
    read = files.select(F.regexp_replace("path", "^file:/+", "file:///").alias("path"))
    empty = names.join(read, "path", "left_anti")
    note_id = F.regexp_extract("path", r"(?i)([^/]*)\.txt$", 1)
    return empty.select(
        note_id.alias("note_id"), F.lit("").alias("note_text"), F.lit(False).alias("undecodable")
    )


def _decoder(encoding: str):  # type: ignore[no-untyped-def]
    def decode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = [_decode(row["path"], row["content"], encoding) for row in batch.to_pylist()]
            if rows:
                names = ["note_id", "note_text", "undecodable"]
                columns = [pa.array(list(column)) for column in zip(*rows, strict=True)]
                columns[0], columns[1] = (c.cast(pa.string()) for c in columns[:2])
                yield pa.RecordBatch.from_arrays(columns, names=names)

    return decode


def _decode(path: str, content: bytes, encoding: str) -> tuple[str, str, bool]:
    note_id = PurePosixPath(path).stem
    try:
        return note_id, content.decode(encoding), False
    except UnicodeDecodeError:
        return note_id, "", True


def _refuse_corrupt(raw: DataFrame, source: SourceConfig) -> None:
    """Raise DataError with counts, and for files with their ids, when something cannot be read."""
    if "undecodable" in raw.columns:
        bad = [row.note_id for row in raw.where("undecodable").select("note_id").collect()]
        if bad:
            raise DataError(
                f"{len(bad)} files are not {source.encoding}: {', '.join(sorted(bad)[:10])}."
                " Convert them, or set source.encoding (for instance cp1252)"
            )
    if CORRUPT in raw.columns:
        # Spark refuses a query on the corrupt column alone, so the frame is cached first.
        bad_lines = raw.cache().where(F.col(CORRUPT).isNotNull()).count()
        raw.unpersist()
        if bad_lines:
            raise DataError(
                f"{bad_lines} records of the {source.format} source cannot be parsed (wrong number"
                " of fields, or broken quoting or JSON). Mend the file: nothing has been written"
            )
