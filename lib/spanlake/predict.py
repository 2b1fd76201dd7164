"""Notes to results in one process: split, extract, assemble; Spark does it in steps."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Protocol

from spanlake.core.assemble import NoteResult, merge
from spanlake.core.assertion_rules import RULES_VERSION
from spanlake.core.types import Annotation, Entity, Note, Relation, Sentence, Unit, sha256, units_of
from spanlake.corpora import decoded, files_by_name, require_folder, write_ann
from spanlake.errors import DataError, SpanlakeError
from spanlake.models import Extractor
from spanlake.models.safe_extract import extract_safely
from spanlake.text.sentences import SPLITTER_VERSION, split

log = logging.getLogger(__name__)

UNIT_VERSION = "1"
NOTES_AT_ONCE = 8  # enough units to sort into batches, few enough for progress to be seen


def pipeline_fingerprint(model_fingerprint: str, derive_version: str, context: int = 0) -> str:
    """Return the hash of all that can change a row: model, splitter, units, rules and derive."""
    unit = f"{UNIT_VERSION}+{context}" if context else UNIT_VERSION
    versions = (SPLITTER_VERSION, unit, RULES_VERSION, derive_version)
    return sha256("\x1f".join((model_fingerprint, *versions)))


def annotate(notes: Sequence[Note], extractor: Extractor, fingerprint: str) -> list[NoteResult]:
    """Return each note's result, in order; the notes' sentences are read in one call."""
    sentences = [split(note.note_text) for note in notes]
    units = [
        unit
        for note, note_sentences in zip(notes, sentences, strict=True)
        for unit in units_of(note.note_text, note_sentences, extractor.context)
    ]
    answers = iter(extract_safely(extractor, units))
    return [
        merge(
            note,
            note_sentences,
            list(islice(answers, len(note_sentences))),
            extractor.labels,
            fingerprint,
        )
        for note, note_sentences in zip(notes, sentences, strict=True)
    ]


class RelationScorer(Protocol):
    """What relates given entities: an extractor, or a rule."""

    @property
    def context(self) -> int: ...

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]: ...


def score_relations(note: Note, gold: Annotation, extractor: RelationScorer) -> Annotation:
    """Return the note's given entities with the relations that the extractor finds among them.

    Entities that a sentence boundary cuts can have no relation.
    """
    sentences = split(note.note_text)
    members = [_inside(gold.entities, sentence) for sentence in sentences]
    inputs = [
        [gold.entities[i].shift(-sentence.span.start) for i in entity_indexes]
        for sentence, entity_indexes in zip(sentences, members, strict=True)
    ]
    linked = extractor.score_relations(
        units_of(note.note_text, sentences, extractor.context), inputs
    )
    relations = [
        Relation(entity_indexes[r.head], entity_indexes[r.tail], r.label, r.score)
        for entity_indexes, sentence_relations in zip(members, linked, strict=True)
        for r in sentence_relations
    ]
    return Annotation(gold.entities, tuple(relations))


def _inside(entities: Sequence[Entity], sentence: Sentence) -> list[int]:
    return [i for i, entity in enumerate(entities) if sentence.span.contains(entity.span)]


def annotate_folder(
    notes: Path, to: Path, extractor: Extractor, encoding: str = "utf-8"
) -> dict[str, str]:
    """Write `to/NAME.ann` for every `notes/NAME.txt`; return {name: error class} of failed ones.

    Newlines are not translated, and a byte order mark of UTF-8 counts as a character, as it does
    for brat. An empty note gets an empty file. A note that fails gets none (an old one is removed),
    and the others are written all the same. What was not read, and `.ann` in
    `to` of no note, is logged. Raises DataError when there is no folder, or no `.txt` in it, `to`
    cannot be made, or it is the folder of the notes and holds annotation.
    """
    paths = _note_files(notes)
    if to.resolve() == notes.resolve() and files_by_name(notes, ".ann"):
        raise DataError(f"{to} holds .ann files, perhaps by hand: give --to another folder")
    _make(to)
    failed: dict[str, str] = {}
    dropped: Counter[str] = Counter()
    for first in range(0, len(paths), NOTES_AT_ONCE):
        some = paths[first : first + NOTES_AT_ONCE]
        failed |= _annotate_some(some, to, extractor, encoding, dropped)
        done = first + len(some)
        log.info("%d of %d notes, %d failed", done, len(paths), len(failed))
    if dropped:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
        log.info("left out of the model's answers: %s", counts)
    _warn_of_stale(to, {path.stem for path in paths})
    return failed


def _note_files(notes: Path) -> list[Path]:
    """Return the folder's `.txt` files, in upper case too, and say what else it holds."""
    require_folder(notes, "notes (.txt)")
    paths = list(files_by_name(notes, ".txt").values())
    not_read = _counted(sorted({*notes.iterdir()} - {*paths}))
    if not paths:
        raise DataError(f"no .txt files in {notes}" + (f", only {not_read}" if not_read else ""))
    if not_read:
        log.warning("not read in %s: %s", notes, not_read)
    return paths


def _counted(others: Sequence[Path]) -> str:
    folders = sum(path.is_dir() for path in others)
    kinds = Counter(path.suffix or "no suffix" for path in others if not path.is_dir())
    counts = [f"{folders} sub-folders"] if folders else []
    return ", ".join([*counts, *(f"{count} {kind} files" for kind, count in kinds.items())])


def _warn_of_stale(to: Path, names: set[str]) -> None:
    """Name the `.ann` files of no note: of an earlier run perhaps, or by hand, so they stay."""
    stale = sorted(path.stem for path in to.glob("*.ann") if path.stem not in names)
    if stale:
        shown = ", ".join(stale[:5]) + (", ..." if len(stale) > 5 else "")
        log.warning("%s holds %d .ann files of no note, left there: %s", to, len(stale), shown)


def _make(to: Path) -> None:
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{to}: cannot be made ({type(error).__name__}): give --to another folder"
        ) from None


def _annotate_some(
    paths: Sequence[Path], to: Path, extractor: Extractor, encoding: str, dropped: Counter[str]
) -> dict[str, str]:
    """Write the files of some notes; return the failed ones, and add to what was left out."""
    failed: dict[str, str] = {}
    notes = []
    for path in paths:
        try:
            notes.append(Note(path.stem, decoded(path.read_bytes(), encoding)))
        except (UnicodeError, OSError) as error:
            failed[path.stem] = type(error).__name__
    for note, result in zip(notes, annotate(notes, extractor, ""), strict=True):
        dropped.update(result.dropped)
        if result.error_class is not None:
            failed[note.note_id] = result.error_class
            continue
        try:
            ann = write_ann(result.annotation).encode("utf-8")
            (to / f"{note.note_id}.ann").write_bytes(ann)
        except (SpanlakeError, OSError) as error:
            failed[note.note_id] = type(error).__name__
    for name in failed:
        _remove(to / f"{name}.ann")  # of an earlier run: no longer true
    return failed


def _remove(path: Path) -> None:
    with suppress(OSError):  # the note is named as failed already
        path.unlink(missing_ok=True)
