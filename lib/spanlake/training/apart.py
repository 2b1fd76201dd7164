"""Notes that are scored must not be among those that are learnt from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from spanlake.corpora import GoldNote
from spanlake.errors import ConfigError, DataError
from spanlake.models.loading import MANIFEST, UNKNOWN, find_folder, read_manifest
from spanlake.models.tagger.folder import KIND


def check_apart(learnt: Iterable[GoldNote], scored: Sequence[GoldNote]) -> None:
    """Raise DataError with the ids of scored notes whose text is learnt from, under any id.

    Notes without text do not count. Ids say nothing: other corpora may number theirs alike.
    """
    texts = texts_of(learnt)
    known = [gold.note.note_id for gold in scored if gold.note.text_sha256 in texts]
    if known:
        raise DataError(f"{len(known)} notes that are scored are learnt: {', '.join(known[:10])}")


def texts_of(notes: Iterable[GoldNote]) -> set[str]:
    """Return the digests of the notes' texts, of those that have one."""
    return {gold.note.text_sha256 for gold in notes if gold.note.note_text}


def learnt_by(model: str) -> set[str]:
    """Return the digests (`texts_of`) of the annotated notes that a model has learnt.

    Those of its base and its teachers count; an encoder has none. What a trained model without
    such a record has learnt equals nothing.
    """
    folder = find_folder(model)
    if (folder.parent / MANIFEST).is_file():  # a part of `bert`
        return {_unknown(folder.parent)}
    if not (folder / MANIFEST).is_file():
        return set()
    told = read_manifest(folder, KIND)["training"].get("learnt_texts")
    return {_unknown(folder)} if told is None else set(told)


def check_unseen(model: str, scored: Iterable[GoldNote]) -> None:
    """Raise ConfigError where a model has learnt notes that are scored, or does not tell."""
    learnt = learnt_by(model)
    if learnt & texts_of(scored) or any(one.startswith(UNKNOWN) for one in learnt):
        raise ConfigError(f"{model} has learnt notes that it would be scored on, or does not tell")


def _unknown(folder: Path) -> str:
    return f"{UNKNOWN} {hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}"
