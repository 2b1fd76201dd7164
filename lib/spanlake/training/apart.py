"""Notes that are scored must not be among those that are learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spanlake.core.corpora import GoldNote
from spanlake.core.errors import DataError
from spanlake.models.loading import MANIFEST, find_folder, read_manifest
from spanlake.models.tagger.folder import KIND


def check_apart(learnt: Iterable[GoldNote], scored: Sequence[GoldNote]) -> None:
    """Raise DataError with the ids of scored notes whose text is learnt from, under any id.

    Notes without text do not count. Ids say nothing: other corpora may number theirs alike.
    """
    texts = {gold.note.text_sha256 for gold in learnt if gold.note.note_text}
    known = [gold.note.note_id for gold in scored if gold.note.text_sha256 in texts]
    if known:
        raise DataError(f"{len(known)} notes that are scored are learnt: {', '.join(known[:10])}")


def learnt_by(model: str) -> set[str]:
    """Return the digests (`notes_digest`) of the annotated notes that a model or its teachers learnt.

    None for an encoder. What a tagger without such a record has learnt equals nothing.
    """
    folder = find_folder(model)
    if not (folder / MANIFEST).is_file():
        return set()
    return set(read_manifest(folder, KIND)["training"].get("learnt_sha256", [f"unknown, {folder}"]))
