"""Gold notes as people have them: a brat folder, or a file of JSON lines."""

from __future__ import annotations

from pathlib import Path

from spanlake.core.labels import LabelSet
from spanlake.corpora.base import GoldNote, ReadReport
from spanlake.corpora.brat import read_brat
from spanlake.corpora.jsonl import read_jsonl
from spanlake.errors import DataError


def read_annotated(
    path: Path, labels: LabelSet | None = None, encoding: str = "utf-8"
) -> tuple[list[GoldNote], ReadReport]:
    """Read a file as JSON lines, which can tell a note's type, and anything else as a brat folder.

    `encoding` is that of a brat folder's texts. Raises as `read_jsonl` and `read_brat` do, and
    DataError for one file of a brat folder.
    """
    if path.is_file() and path.suffix.lower() in (".txt", ".ann"):
        raise DataError(f"{path}: one file of a brat folder: give the folder, or JSON lines")
    return read_jsonl(path, labels) if path.is_file() else read_brat(path, labels, encoding)
