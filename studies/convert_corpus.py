"""Convert a public corpus to JSON lines that Spanlake reads: `python studies/convert_corpus.py`.

python studies/convert_corpus.py iob BC5CDR.tsv bc5cdr.jsonl --labels bc5cdr
Formats: iob (IOB and CoNLL files), pubtator, chemprot (a folder of one split), phee. What cannot be
read is counted on stderr, by reason.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spanlake.core.bio import OUTSIDE, decode, legal
from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Note, Span, entity_at
from spanlake.corpora import write_jsonl
from spanlake.corpora.base import (
    Draft,
    DraftRelation,
    GoldNote,
    ReadReport,
    file_lines,
    has_surrogate,
    place,
    settle,
)
from spanlake.errors import DataError

# IOB and CoNLL files: one token and its tag a line, a blank line after each sentence.
#
# The text is rebuilt with single spaces between tokens and a newline between sentences, so offsets
# refer to that text and not to the source's. ``-DOCSTART-`` starts a note.

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
        elif token := _iob_token(columns, token_column, tag_column, where, report):
            groups[-1][1][-1].append(token)
    full = [(key, [sentence for sentence in group if sentence]) for key, group in groups]
    if len(full) == 1:
        (_, all_of_it), full = full[0], []
        for first in range(0, len(all_of_it), sentences_per_note):
            full.append((None, all_of_it[first : first + sentences_per_note]))
    elif not full[0][1]:
        del full[0]
    names = [key or f"{path.stem}-{i:04d}" for i, (key, _) in enumerate(full, start=1)]
    notes = [_iob_note(n, group, labels, report) for n, (_, group) in zip(names, full, strict=True)]
    return notes, report


def _iob_token(
    columns: Sequence[str], token_column: int, tag_column: int, where: str, report: ReadReport
) -> Token | None:
    token = columns[token_column].strip() if token_column < len(columns) else ""
    tag = columns[tag_column].strip() if tag_column < len(columns) else ""
    if not token or not TAG.fullmatch(tag):
        report.problem(where, "bad_line")
        tag = OUTSIDE
    return (where, token, tag) if token else None


def _iob_note(
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


# PubTator files: ``id|t|title``, ``id|a|abstract``, then tab-parted entities and relations.
#
# The note's text is title, newline, abstract: the offsets count one character between the two.
# Relations of PubTator files hold between concepts of the whole abstract, not between entities, so
# they are counted (concept_relation) and not read; each entity keeps its concept as the attribute
# ``identifier``.

TEXT_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)")


@dataclass(slots=True)
class _Abstract:
    title: str
    abstract: str = ""
    rows: list[tuple[str, list[str]]] = field(default_factory=list)


def read_pubtator(path: Path, labels: LabelSet | None = None) -> tuple[list[GoldNote], ReadReport]:
    """Read a PubTator file, one note an abstract; a line of an unknown id is a bad line."""
    report = ReadReport()
    found: dict[str, _Abstract] = {}
    for where, line in file_lines(path):
        columns = line.split("\t")
        match = TEXT_LINE.fullmatch(line)
        if match and match[2] == "t" and match[1] not in found:
            found[match[1]] = _Abstract(match[3])
        elif match and match[2] == "a" and match[1] in found and not found[match[1]].abstract:
            found[match[1]].abstract = match[3]
        elif match is None and columns[0] in found and len(columns) >= 4:
            found[columns[0]].rows.append((where, columns))
        elif line.strip():
            report.problem(where, "bad_line")
    return [
        _pubtator_note(key, abstract, labels, report) for key, abstract in found.items()
    ], report


def _pubtator_note(
    note_id: str, found: _Abstract, labels: LabelSet | None, report: ReadReport
) -> GoldNote:
    text = f"{found.title}\n{found.abstract}"
    draft = Draft()
    for where, columns in found.rows:
        if not columns[1].isdecimal():
            report.count("concept_relation")
        elif len(columns) < 5 or not columns[2].isdecimal():
            report.problem(where, "bad_line")
        else:
            pieces = [(int(columns[1]), int(columns[2]))]
            entity = place(text, pieces, columns[4], columns[3], where, report)
            if entity and len(columns) > 5 and columns[5]:
                entity = replace(entity, attributes=(("identifier", columns[5]),))
            draft.add(where, where, entity, report)
    return GoldNote(Note(note_id, text), settle(draft, labels, report))


# ChemProt (BioCreative VI): tab-parted files of abstracts, entities and gold-standard relations.
#
# Offsets count in title, tab, abstract, and that is the note's text. Entities may overlap; they are
# all kept and counted. Relations go from the chemical to the gene, labelled ``CPR:3`` and so on.

ChemprotRow = tuple[str, list[str]]  # where, columns


def read_chemprot(
    folder: Path, labels: LabelSet | None = None
) -> tuple[list[GoldNote], ReadReport]:
    """Read one split's folder: its ``*_abstracts``, ``*_entities`` and ``*_gold_standard.tsv``.

    Raises DataError when one of the three files is missing.
    """
    report = ReadReport()
    notes: dict[str, Note] = {}
    for where, columns in _chemprot_rows(folder, "abstracts", 3, report):
        if columns[0] in notes:
            report.problem(where, "bad_line")
        else:
            notes[columns[0]] = Note(columns[0], f"{columns[1]}\t{columns[2]}")
    drafts = {note_id: Draft() for note_id in notes}
    for row in _chemprot_rows(folder, "entities", 6, report):
        _chemprot_add_entity(row, notes, drafts, report)
    for row in _chemprot_rows(folder, "gold_standard", 4, report):
        _chemprot_add_relation(row, drafts, report)
    return [GoldNote(notes[k], settle(drafts[k], labels, report)) for k in notes], report


def _chemprot_rows(folder: Path, kind: str, width: int, report: ReadReport) -> list[ChemprotRow]:
    """Return a file's rows; one with another number of columns is a bad line."""
    paths = sorted(folder.glob(f"*_{kind}.tsv"))
    if len(paths) != 1:
        raise DataError(f"{folder.name}: {len(paths)} files *_{kind}.tsv, expected one")
    rows = []
    for where, line in file_lines(paths[0]):
        columns = line.split("\t")
        if len(columns) == width:
            rows.append((where, columns))
        elif line.strip():
            report.problem(where, "bad_line")
    return rows


def _chemprot_add_entity(
    row: ChemprotRow, notes: dict[str, Note], drafts: dict[str, Draft], report: ReadReport
) -> None:
    where, (note_id, key, label, start, end, stated) = row
    if note_id not in notes or not (start.isdecimal() and end.isdecimal()):
        report.problem(where, "bad_line")
        return
    text = notes[note_id].note_text
    entity = place(text, [(int(start), int(end))], label, stated, where, report)
    drafts[note_id].add(key, where, entity, report)


def _chemprot_add_relation(row: ChemprotRow, drafts: dict[str, Draft], report: ReadReport) -> None:
    where, (note_id, label, head, tail) = row
    if note_id not in drafts or not (head.startswith("Arg1:") and tail.startswith("Arg2:")):
        report.problem(where, "bad_line")
        return
    drafts[note_id].relations.append(DraftRelation(where, head[5:], tail[5:], label))


# PHEE: JSON lines of sentences with events, read as the spans of their triggers and arguments.
#
# A trigger's label is its event's type, an argument's is its role, wherever it is nested. Which
# argument belongs to which event is not read. An argument in pieces becomes its covering span.

Found = tuple[str, tuple[tuple[int, int], ...], str]  # label, pieces, stated text


def read_phee(path: Path, labels: LabelSet | None = None) -> tuple[list[GoldNote], ReadReport]:
    """Read a file, one note a sentence; a line that is none, or repeats an id, is a bad line."""
    report = ReadReport()
    notes: dict[str, GoldNote] = {}
    for where, line in file_lines(path):
        if not line.strip():
            continue
        try:
            note, spans = _phee_parsed(line)
        except (ValueError, KeyError, TypeError):  # may quote the line, so it goes no further
            report.problem(where, "bad_line")
            continue
        if note.note_id in notes:
            report.problem(where, "bad_line")
        else:
            notes[note.note_id] = _phee_gold(note, spans, labels, where, report)
    return list(notes.values()), report


def _phee_parsed(line: str) -> tuple[Note, list[Found]]:
    """Return a line's note and spans, each once: events of a sentence share their arguments."""
    read = json.loads(line)
    spans = list(dict.fromkeys(_phee_spans(read["annotations"], "")))
    places = [place for _, pieces, _ in spans for piece in pieces for place in piece]
    if has_surrogate(json.dumps(read, ensure_ascii=False)):
        raise ValueError("half of a UTF-16 pair")
    if not isinstance(read["context"], str) or not all(isinstance(at, int) for at in places):
        raise TypeError("no text, or an offset that is no whole number")
    return Note(str(read["id"]), read["context"]), spans


def _phee_spans(node: Any, label: str) -> Iterator[Found]:
    """Yield every span of an event or argument, and of what is nested in it."""
    if isinstance(node, list):
        for one in node:
            yield from _phee_spans(one, label)
    elif isinstance(node, dict):
        for texts, starts in zip(node.get("text", ()), node.get("start", ()), strict=True):
            pieces = tuple((a, a + len(text)) for a, text in zip(starts, texts, strict=True))
            yield label, pieces, " ".join(texts)
        for role, inner in node.items():
            yield from _phee_spans(inner, node["event_type"] if role == "Trigger" else role)


def _phee_gold(
    note: Note, spans: list[Found], labels: LabelSet | None, where: str, report: ReadReport
) -> GoldNote:
    draft = Draft()
    for number, (label, pieces, stated) in enumerate(spans):
        entity = place(note.note_text, pieces, label, stated, where, report)
        draft.add(str(number), where, entity, report)
    return GoldNote(note, settle(draft, labels, report))


READERS = {
    "iob": read_iob,
    "pubtator": read_pubtator,
    "chemprot": read_chemprot,
    "phee": read_phee,
}


def main(argv: list[str] | None = None) -> int:
    """Convert one file or folder; returns 0."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("format", choices=READERS)
    parser.add_argument("source", type=Path, help="a file; for chemprot a folder")
    parser.add_argument("target", type=Path, help="the file of JSON lines to write")
    parser.add_argument(
        "--labels", help="label set: entities and relations outside it are left out"
    )
    arguments = parser.parse_args(argv)
    labels = load_labels(arguments.labels) if arguments.labels else None
    notes, report = READERS[arguments.format](arguments.source, labels)
    write_jsonl(arguments.target, notes)
    counts = ", ".join(f"{count} {reason}" for reason, count in report.reasons.most_common())
    sys.stderr.write(f"{len(notes)} notes" + (f"; {counts}" if counts else "") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
