"""Evaluation notes must not be in the training data: hashes of their texts are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from spanlake.corpora import GoldNote
from spanlake.errors import ConfigError, DataError
from spanlake.models.loading import MANIFEST, UNKNOWN, find_folder, read_manifest
from spanlake.models.tagger.folder import KIND


def text_hashes(notes: Iterable[GoldNote]) -> set[str]:
    """Return the hashes of the texts of notes that have a text."""
    return {gold.note.text_sha256 for gold in notes if gold.note.note_text}


def training_text_hashes(model: str) -> set[str]:
    """Return the hashes of the annotated notes that a model, its base and its teachers have seen.

    An encoder has seen none. A trained model that does not record its training data has one hash,
    which equals no note's.
    """
    folder = find_folder(model)
    if (folder.parent / MANIFEST).is_file():  # a part of a `bert` model
        return {_unknown(folder.parent)}
    if not (folder / MANIFEST).is_file():
        return set()
    training = read_manifest(folder, KIND)["training"]
    hashes = training.get("training_text_hashes", training.get("training_text_hashes"))
    return {_unknown(folder)} if hashes is None else set(hashes)


def _unknown(folder: Path) -> str:
    return f"{UNKNOWN} {hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}"


def require_disjoint(train_notes: Iterable[GoldNote], eval_notes: Sequence[GoldNote]) -> None:
    """Raise DataError with the ids of evaluation notes whose text is among the training notes.

    Ids are not compared: corpora number their notes alike.
    """
    hashes = text_hashes(train_notes)
    known = [gold.note.note_id for gold in eval_notes if gold.note.text_sha256 in hashes]
    if known:
        raise DataError(
            f"{len(known)} evaluation notes are in the training data: {', '.join(known[:10])}"
        )


def require_unseen(model: str, eval_notes: Iterable[GoldNote]) -> None:
    """Raise ConfigError for a model that was, or may have been, trained on evaluation notes."""
    hashes = training_text_hashes(model)
    known = hashes & text_hashes(eval_notes)
    if known:
        raise ConfigError(f"{model}: {len(known)} evaluation notes are in its training data")
    if any(text_hash.startswith(UNKNOWN) for text_hash in hashes):
        raise ConfigError(f"{model}: its manifest does not record its training data")


def require_valid_eval_notes(
    train_notes: Iterable[GoldNote], eval_notes: Sequence[GoldNote], base_model: str
) -> None:
    """Raise where `eval_notes` are in the training data, or may be in that of the base model."""
    require_disjoint(train_notes, eval_notes)
    if eval_notes and training_text_hashes(base_model):
        raise ConfigError(
            f"{base_model} was trained on annotated notes, which may be those of `eval_data`:"
            " start from an encoder, or train without evaluation (eval_data=null)"
        )
