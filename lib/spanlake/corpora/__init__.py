"""Readers of annotated corpora to gold notes, and writers; none of them drops a line silently."""

from spanlake.corpora.annotated import read_annotated
from spanlake.corpora.base import GoldNote, ReadReport, decoded, files_by_name, require_folder
from spanlake.corpora.brat import parse_ann, read_ann, read_brat, write_ann, write_brat
from spanlake.corpora.jsonl import read_jsonl, to_json, write_jsonl
from spanlake.corpora.mtsamples import read_mtsamples

__all__ = [
    "GoldNote",
    "ReadReport",
    "decoded",
    "files_by_name",
    "parse_ann",
    "read_ann",
    "read_annotated",
    "read_brat",
    "read_jsonl",
    "read_mtsamples",
    "require_folder",
    "to_json",
    "write_ann",
    "write_brat",
    "write_jsonl",
]
