"""IOB and CoNLL files: one token and its tag a line, a blank line after each sentence.

The text is rebuilt with single spaces between tokens and a newline between sentences, so offsets
refer to that text and not to the source's. ``-DOCSTART-`` starts a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from spanlake.core.bio import OUTSIDE, decode, legal
from spanlake.core.labels import LabelSet
from spanlake.core.types import Note, Span, entity_at
from spanlake.corpora.base import Draft, GoldNote, ReadReport, file_lines, settle

DOCSTART = "-DOCSTART-"
TAG = re.compile(r"O|[BI]-\S+")
Token = tuple[str, str, str]  # where, token, tag
Sentences = list[list[Token]]


def read_iob(
    path: Path,
    labels: LabelSet | None = None,
    *,
    token_column: int = 0,
    tag_column: int = 1,
    sentences_per_note: int = 9,
) -> tuple[list[GoldNote], ReadReport]:
    """Read a file of tokens and tags; columns are parted by tabs, or by spaces when there are none.

    A note's id is what stands after the tag on its ``-DOCSTART-`` line, else the file's name and
    the note's number. A file without such lines does not say where its notes end: it is cut after
    every `sentences_per_note` sentences (BC5CDR has 9.1 an abstract), so that a bootstrap over
    notes still draws neighbouring sentences together; such notes can begin inside an abstract.

    An ``I-`` without its own label before it opens an entity (illegal_tag); a line without a
    proper tag is a bad line, its token stays in the text untagged.
    """
    report = ReadReport()
    groups: list[tuple[str | None, Sentences]] = [(None, [[]])]
    for where, line in file_lines(path):
        columns = line.split("\t") if "\t" in line else re.split(" +", line)
        if not line.strip():
            groups[-1][1].append([])
        elif columns[token_column : token_column + 1] == [DOCSTART]:
            groups.append(("".join(columns[tag_column + 1 : tag_column + 2]) or None, [[]]))
        elif token := _token(columns, token_column, tag_column, where, report):
            groups[-1][1][-1].append(token)
    full = [(key, [sentence for sentence in group if sentence]) for key, group in groups]
    if len(full) == 1:
        (_, all_of_it), full = full[0], []
        for first in range(0, len(all_of_it), sentences_per_note):
            full.append((None, all_of_it[first : first + sentences_per_note]))
    elif not full[0][1]:
        del full[0]
    names = [key or f"{path.stem}-{i:04d}" for i, (key, _) in enumerate(full, start=1)]
    notes = [_note(n, group, labels, report) for n, (_, group) in zip(names, full, strict=True)]
    return notes, report


def _token(
    columns: Sequence[str], token_column: int, tag_column: int, where: str, report: ReadReport
) -> Token | None:
    token = columns[token_column].strip() if token_column < len(columns) else ""
    tag = columns[tag_column].strip() if tag_column < len(columns) else ""
    if not token or not TAG.fullmatch(tag):
        report.problem(where, "bad_line")
        tag = OUTSIDE
    return (where, token, tag) if token else None


def _note(
    note_id: str, sentences: Sentences, labels: LabelSet | None, report: ReadReport
) -> GoldNote:
    text = "\n".join(" ".join(token for _, token, _ in sentence) for sentence in sentences)
    draft, position = Draft(), 0
    for sentence in sentences:
        spans, places, before = [], {}, OUTSIDE
        for where, token, tag in sentence:
            spans.append(Span(position, position + len(token)))
            places[position] = where
            position += len(token) + 1
            if not legal(before, tag):
                report.problem(where, "illegal_tag")
            before = tag
        for span, label in decode(spans, [tag for _, _, tag in sentence]):
            entity = entity_at(text, span.start, span.end, label)
            draft.add(str(span.start), places[span.start], entity, report)
    return GoldNote(Note(note_id, text), settle(draft, labels, report))
