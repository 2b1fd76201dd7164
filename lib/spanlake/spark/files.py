"""The files of a source, each read as a stream within one task, whatever file system they are on.

On a mounted file system (a path, `file:`, /Volumes, /dbfs) we list the folder ourselves, since
Spark leaves out names that begin with `_` or `.`, and a task opens its file: MIMIC's NOTEEVENTS.csv
has 4 GB, and memory stays bounded. Elsewhere (S3, HDFS ...) Spark hands over whole files as bytes,
which no row holds above 2 GB: such a file is refused, to be split or copied to a mounted path.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BufferedIOBase
from itertools import islice
from pathlib import PurePosixPath
from typing import cast
from urllib.parse import unquote

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from spanlake.errors import ConfigError, DataError

log = logging.getLogger(__name__)

MOUNTS = ("/Volumes/", "/Workspace/", "/dbfs/")  # of Databricks, whose other paths are DBFS's
MOST_BYTES = 2**31 - 2**20  # of a row of Spark's
ROWS_AT_ONCE, CHARACTERS_AT_ONCE = 1000, 4_000_000  # of a batch that goes to Spark
FILES_A_TASK, BYTES_A_TASK = 500, 32_000_000  # small files share a task, a large one has its own
NAMED = 10  # files in an error
MOST_HIDDEN, DEEPEST = 10_000, 5  # what is looked through where Spark lists a folder
HIDDEN = ("_", ".")

Opener = Callable[[], BufferedIOBase]
Reader = Callable[[str, Opener], Iterator[Sequence[str | None]]]


@dataclass(frozen=True)
class Files:
    """Files under `root` by their paths; `stored` is Spark's frame of those not mounted here.

    Spark does not read files of no bytes: they are `empty`, and never opened.
    """

    spark: SparkSession
    root: str
    paths: tuple[str, ...]
    stored: DataFrame | None = None
    empty: bool = False

    def rows(self, reader: Reader, schema: T.StructType) -> DataFrame:
        """Return the rows of strings that `reader(name below root, opener)` yields of each file."""
        root, empty, names = self.root, self.empty, schema.names
        wanted, tasks = frozenset(self.paths), _tasks(self.paths)

        def opened(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for task in batch.column(0).to_pylist():
                    for path in tasks[task]:
                        opener = _bytes_opener(path, b"") if empty else _opener(path)
                        yield from _batches(reader(_below(root, path), opener), names)

        def stored(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for row in batch.to_pylist():
                    if (path := _spelt(row["path"])) in wanted:
                        opener = _bytes_opener(path, row["content"])
                        yield from _batches(reader(_below(root, path), opener), names)

        if self.stored is not None:
            return self.stored.select("path", "content").mapInArrow(stored, schema)
        return self.spark.range(0, len(tasks), 1, len(tasks)).mapInArrow(opened, schema)


def _tasks(paths: Sequence[str]) -> list[list[str]]:
    """Return the paths by the task that reads them; there is one task at least."""
    tasks: list[list[str]] = [[]]
    held = 0
    for path in paths:
        size = _size(path)
        held += size
        if tasks[-1] and (held > BYTES_A_TASK or len(tasks[-1]) == FILES_A_TASK):
            tasks.append([])
            held = size
        tasks[-1].append(path)
    return tasks


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # it is not mounted here, or its reader will say what is wrong
        return 0


def source_files(spark: SparkSession, path: str, wanted: Callable[[str], bool]) -> list[Files]:
    """Return the files at `path` (a file, a folder with its sub-folders, a glob) that are wanted.

    What is there and not read is logged, counted by suffix. Raises ConfigError when there is
    nothing at the path, and DataError when nothing there is wanted or a file cannot be held.
    """
    mounted = _is_mounted(spark, path)
    file_sets = _mounted_files(spark, path) if mounted else _stored_files(spark, path, wanted)
    named = [name for files in file_sets for name in files.paths]
    others = Counter(_kind(name) for name in named if not wanted(name))
    other_kinds = ", ".join(f"{count} {kind} files" for kind, count in sorted(others.items()))
    if len(named) == others.total():
        raise DataError(
            f"source {path}: no file there is read" + (f", only {other_kinds}" * bool(other_kinds))
        )
    if other_kinds:
        log.warning("not read in %s: %s", path, other_kinds)
    return [replace(files, paths=tuple(filter(wanted, files.paths))) for files in file_sets]


def is_hidden(path: str) -> bool:
    """Tell whether the file's name is one that Spark leaves out: `_SUCCESS`, `.part-0.crc` ..."""
    return PurePosixPath(path).name.startswith(HIDDEN)


def _kind(path: str) -> str:
    return PurePosixPath(path).suffix or "no suffix"


def _is_mounted(spark: SparkSession, path: str) -> bool:
    if "{" in path:  # of a glob, which Python's has not
        return os.path.exists(path)
    scheme = re.match(r"([A-Za-z][\w+.-]+):", path)
    if scheme is not None:
        return scheme[1] == "file"
    return path.startswith(MOUNTS) or _default_system(spark).startswith("file:")


def _default_system(spark: SparkSession) -> str:
    """Return the URL of the file system of plain paths; "" where Spark Connect does not tell."""
    try:
        return str(spark._jsc.hadoopConfiguration().get("fs.defaultFS"))
    except Exception:
        return ""


def _mounted_files(spark: SparkSession, path: str) -> list[Files]:
    path = os.path.abspath(re.sub("^file:/+", "/", path))
    there = [path] if os.path.exists(path) else sorted(glob.glob(path))
    if not there:
        raise ConfigError(f"source {path}: no such file or folder: check its name")
    try:
        paths = [name for start in there for name in _walk(start)]
    except OSError as error:
        raise DataError(
            f"source {path}: a folder cannot be listed ({type(error).__name__})"
        ) from None
    unnamed = sum(not _is_text(name) for name in paths)
    if unnamed:
        raise DataError(f"source {path}: the names of {unnamed} files are not UTF-8: rename them")
    root = path if os.path.isdir(path) else os.path.dirname(path)
    return [Files(spark, root, tuple(paths))]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(path: str) -> Iterator[str]:
    """Yield the files at and below `path`, in order; a folder that is linked twice is read once."""
    if not os.path.isdir(path):
        yield path
        return
    seen = set()
    for folder, below, names in os.walk(path, onerror=_raise, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        below.sort()
        yield from (os.path.join(folder, name) for name in sorted(names))


def _raise(error: OSError) -> None:
    raise error


def _stored_files(spark: SparkSession, path: str, wanted: Callable[[str], bool]) -> list[Files]:
    """Return the files with bytes, as Spark lists them, and those without, which it skips."""
    _refuse_hidden(spark, path, wanted)
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", True)
    stored = reader.load(path)
    sizes = {
        _spelt(row["path"]): row["length"] for row in stored.select("path", "length").collect()
    }
    large = sorted(name for name, size in sizes.items() if size > MOST_BYTES)
    if large:
        raise DataError(
            f"{len(large)} files are larger than the 2 GB that a row of Spark holds"
            f" ({', '.join(large[:NAMED])}): split them, or copy them to a mounted path"
        )
    listed = [_spelt(unquote(name)) for name in stored.inputFiles()]
    empty = tuple(sorted(name for name in listed if name not in sizes))
    root = _spelt(path).rstrip("/")
    with_bytes = Files(spark, root, tuple(sorted(sizes)), stored)
    return [with_bytes, Files(spark, root, empty, empty=True)] if empty else [with_bytes]


def _refuse_hidden(spark: SparkSession, path: str, wanted: Callable[[str], bool]) -> None:
    """Raise DataError for `_x.txt`, `_sub/x.txt` and the like where Spark lists: it drops them."""
    try:
        names = islice(_hidden(spark, path.rstrip("/")), MOST_HIDDEN)
        hidden = sorted(set(filter(wanted, names)))
    except Exception:  # Spark Connect, or a pattern that is none: what Spark lists is read
        log.warning("source %s: files and folders named _... or .... are not read", path)
        return
    if hidden:
        raise DataError(
            f"source {path}: Spark does not read the {len(hidden)} files whose names, or whose"
            f" folders', begin with _ or . ({', '.join(hidden[:NAMED])}): rename them, or copy all"
            " to a mounted path"
        )


def _hidden(spark: SparkSession, path: str) -> Iterator[str]:
    """Yield the files below `path` that Spark leaves out, as deep as DEEPEST folders."""
    hadoop = spark._jvm.org.apache.hadoop.fs  # type: ignore[union-attr]
    system = hadoop.Path(path).getFileSystem(spark._jsc.hadoopConfiguration())
    for depth in range(DEEPEST):
        for status in system.globStatus(hadoop.Path(f"{path}/{'*/' * depth}[_.]*")) or ():
            files = system.listFiles(status.getPath(), True)  # of a file: itself
            while files.hasNext():
                yield _below(_spelt(path), _spelt(files.next().getPath().toString()))


def _spelt(path: str) -> str:
    """Return a path of Spark's in one spelling: it writes `file:/x` and `file:///x`."""
    return re.sub("^file:/+", "/", path)


def _below(root: str, path: str) -> str:
    return path.removeprefix(root.rstrip("/") + "/")


def _opener(path: str) -> Opener:
    return lambda: _unpacked(path, open(path, "rb"))


def _bytes_opener(path: str, content: bytes) -> Opener:
    return lambda: _unpacked(path, io.BytesIO(content))


def _unpacked(path: str, stream: BufferedIOBase) -> BufferedIOBase:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".gz":
        return cast(BufferedIOBase, gzip.open(stream))
    return cast(BufferedIOBase, bz2.open(stream)) if suffix == ".bz2" else stream


def _batches(
    rows: Iterator[Sequence[str | None]], names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches whose Python objects fit a worker's memory."""
    held: list[Sequence[str | None]] = []
    size = 0
    for row in rows:
        held.append(row)
        size += sum(len(value) for value in row if value)
        if len(held) == ROWS_AT_ONCE or size > CHARACTERS_AT_ONCE:
            yield _batch(held, names)
            held, size = [], 0
    if held:
        yield _batch(held, names)


def _batch(rows: Sequence[Sequence[str | None]], names: Sequence[str]) -> pa.RecordBatch:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=list(names))
