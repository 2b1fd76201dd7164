"""What a task makes of one file of a source: rows, or one row that says why it cannot be read.

A row is the fields that were asked for, then what is wrong and where: both are null in a row of the
source, and never hold a file's text.
"""

from __future__ import annotations

import io
import json
import lzma
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from spanlake.spark.files import Opener, Reader
from spanlake.text.csv_records import CsvFault, CsvReader, Dialect

UNREADABLE = "files cannot be read"
UNDECODABLE = "files are not {} (convert them, or set source.encoding, for instance cp1252)"
SURROGATE = "half of a UTF-16 pair (\\ud800 to \\udfff), which is no character"
EXACT = 16  # digits: whole numbers of JSON's doubles
MOST = 1 << 28  # characters of a line, bytes of a text: more is no note, but a file of another kind
LARGE = "files are larger than a note may be (256 MB): is source.format right?"
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)

Row = Sequence[str | None]


def text_reader(encoding: str) -> Reader:
    """Return a reader of one file as one note: (note_id, note_text), decoded strictly."""

    def read(name: str, opener: Opener) -> Iterator[Row]:
        note_id = PurePosixPath(name).stem
        try:
            with opener() as stream:
                content = stream.read(MOST + 1)
            if len(content) > MOST:
                yield None, None, LARGE, note_id
            else:
                yield note_id, content.decode(encoding), None, None
        except UnicodeDecodeError:
            yield None, None, UNDECODABLE.format(encoding), note_id
        except OSError as error:
            yield None, None, UNREADABLE, f"{name} ({type(error).__name__})"

    return read


def csv_header(encoding: str, dialect: Dialect) -> Reader:
    """Return a reader of a file's header: (file's name, its columns as JSON)."""

    def read(name: str, opener: Opener) -> Iterator[Row]:
        try:
            with opener() as stream:
                header = CsvReader(stream, encoding, dialect).header
                yield name, json.dumps(header), None, None
        except (CsvFault, *BROKEN) as error:
            yield name, None, UNREADABLE, f"{name}: {_error_text(error)}"

    return read


def csv_rows(encoding: str, dialect: Dialect, columns: Sequence[str]) -> Reader:
    """Return a reader of the columns of these names, wherever they stand in the file."""

    def read(name: str, opener: Opener) -> Iterator[Row]:
        try:
            with opener() as stream:
                records = CsvReader(stream, encoding, dialect)
                places = [records.header.index(column) for column in columns]
                for fields in records:
                    yield *(fields[place] for place in places), None, None
        except (CsvFault, *BROKEN) as error:
            yield *(None for _ in columns), UNREADABLE, f"{name}: {_error_text(error)}"

    return read


def json_keys(encoding: str) -> Reader:
    """Return a reader of the keys of a file's objects: (file's name, its keys as JSON)."""

    def read(name: str, opener: Opener) -> Iterator[Row]:
        keys: dict[str, None] = {}
        try:
            for values in _objects(opener, encoding):
                keys |= dict.fromkeys(values)
            yield name, json.dumps(list(keys)), None, None
        except (JsonFault, *BROKEN) as error:
            yield name, None, UNREADABLE, f"{name}: {_error_text(error)}"

    return read


def json_rows(encoding: str, columns: Sequence[str], texts: Sequence[str] = ()) -> Reader:
    """Return a reader of the values of these keys; arrays and objects stay JSON.

    Those of `texts` are refused where they are neither texts nor numbers.
    """
    refused = frozenset(texts)

    def read(name: str, opener: Opener) -> Iterator[Row]:
        try:
            for values in _objects(opener, encoding, refused):
                yield *(_as_text(values.get(column)) for column in columns), None, None
        except (JsonFault, *BROKEN) as error:
            yield *(None for _ in columns), UNREADABLE, f"{name}: {_error_text(error)}"

    return read


class JsonFault(Exception):
    """What is wrong with a line of a file; it holds no text of the file."""


def _error_text(error: Exception) -> str:
    if isinstance(error, (CsvFault, JsonFault)):
        return str(error)
    return f"cut off or broken ({type(error).__name__})"


def _objects(
    opener: Opener, encoding: str, texts: frozenset[str] = frozenset()
) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines; raises JsonFault at the first that is none."""
    number = 0
    with opener() as stream:
        # Wrong bytes become lone surrogates, which name their line; UTF-16 knows no such thing.
        lines = io.TextIOWrapper(
            cast(BinaryIO, stream), encoding, errors="surrogateescape", newline=""
        )
        try:
            for number, line in enumerate(iter(lambda: lines.readline(MOST), ""), 1):
                if len(line) == MOST:
                    raise JsonFault(
                        f"line {number}: {MOST} characters or more: write an object a line"
                    )
                text = line.removeprefix("\ufeff") if number == 1 else line
                if text.strip():
                    yield from _parsed(text, number, encoding, texts)
        except UnicodeDecodeError:
            raise JsonFault(f"behind line {number}: bytes that are not {encoding}") from None


def _parsed(line: str, number: int, encoding: str, texts: frozenset[str]) -> list[dict[str, Any]]:
    if not _is_text(line):
        raise JsonFault(f"line {number}: bytes that are not {encoding} (set source.encoding)")
    try:
        parsed = json.loads(line, parse_int=str, parse_float=_number, object_pairs_hook=_object)
    except JsonFault as fault:
        raise JsonFault(f"line {number}: {fault}") from None
    except (ValueError, RecursionError):
        raise JsonFault(f"line {number}: not JSON, or cut off") from None
    values = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(value, dict) for value in values):
        raise JsonFault(f"line {number}: JSON, but no object")
    wrong = [
        name
        for value in values
        for name in texts & value.keys()
        if not isinstance(value[name], str | None)
    ]
    if wrong:
        raise JsonFault(f"line {number}: {wrong[0]} is neither a text nor a number")
    if "\\u" in line and not _is_text(json.dumps(parsed, ensure_ascii=False)):
        raise JsonFault(f"line {number}: {SURROGATE}")
    return values


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise JsonFault("an object has a key twice")
    return values


def _number(written: str) -> str:
    """Return a number as it is written, a whole one without its point: pandas writes 20000019.0."""
    try:
        value = Decimal(written)
    except InvalidOperation:  # an exponent that is no machine's
        return written
    if value.adjusted() < EXACT and value == value.to_integral_value():
        return str(int(value))
    return written


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
