"""Distillation: a student learns the probabilities that an ensemble gives to unannotated notes.

Source: arXiv 1503.02531; over unlabelled text of the task's own kind.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spanlake.config.extract import ExtractorConfig
from spanlake.config.train import DistilConfig
from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Note, Unit, units_of
from spanlake.errors import DataError
from spanlake.models.tagger.extractor import OnePassTagger, ReadText
from spanlake.models.tagger.folder import KIND, fingerprint, locate
from spanlake.text.sentences import split
from spanlake.training.apart import learnt_by
from spanlake.training.joint import Target
from spanlake.training.processes import require_one
from spanlake.training.recipe import METRICS, TRAINER_VERSION, make, unlabelled_recipe, write_json
from spanlake.training.start import check_start
from spanlake.training.tagger import fit
from spanlake.training.unlabelled import unlabelled_notes

SAID = ".teachers"  # what they have said; gone when the student is done
TEXTS_AT_ONCE = 2048  # a file of soft labels: what a kill may cost

log = logging.getLogger(__name__)


def distil(config: DistilConfig) -> dict[str, Any]:
    """Train a student on what the teachers say of the notes; return its metrics.

    The student is a tagger's folder, to be read or to be trained further (`model:`). What the
    teachers have said is kept until the student is done, so neither a killed run nor another
    recipe of the student asks them again. Raises ConfigError where `config.to` holds a finished
    model of another recipe, unless `config.resume` is false.
    """
    require_one("distillation")
    top, notes = Path(config.to), unlabelled_notes(config)
    labels, reading = load_labels(config.labels), _reading(config)
    teachers = fingerprint(locate(reading, labels), reading, labels)
    recipe = {**unlabelled_recipe(notes, config), "teachers": teachers}
    check_start(labels, config)  # before anything is removed, or the teachers read for an hour
    metrics = make(top, KIND, recipe, lambda: _fit(notes, config, recipe), resume=config.resume)
    write_json(top / METRICS, metrics)
    shutil.rmtree(top / SAID, ignore_errors=True)
    return metrics


def _fit(notes: Sequence[Note], config: DistilConfig, recipe: dict[str, Any]) -> None:
    labels = load_labels(config.labels)
    texts = texts_of(notes)
    targets = _said(texts, config, recipe["teachers"])
    learnt = set().union(*map(learnt_by, [config.model, *config.teachers]))
    told = {"recipe": recipe, "learnt_texts": sorted(learnt)}
    fit(targets, labels, config, {**told, "notes": len(notes), "texts": len(texts)})


def _said(texts: Sequence[str], config: DistilConfig, teachers: str) -> list[Target]:
    key = "\x1f".join((str(TRAINER_VERSION), teachers, *texts))
    work = Path(config.to) / SAID / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not config.resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return list(silver_targets(texts, OnePassTagger(_reading(config)), work))


def _reading(config: DistilConfig) -> ExtractorConfig:
    """Return how the teachers read: as the student will, but for what is left out at last."""
    shared = config.model_dump(include={"labels", "max_tokens", "stride", "max_pair_words"})
    return ExtractorConfig(kind=KIND, models=config.teachers, entity_threshold=0.0, **shared)


def texts_of(notes: Sequence[Note]) -> list[str]:
    """Return the different units of the notes, in order: what is said twice is read once."""
    seen: dict[str, None] = {}
    for note in notes:
        seen.update((unit.target, None) for unit in units_of(note.note_text, split(note.note_text)))
    return list(seen)


def silver_targets(texts: Sequence[str], teacher: OnePassTagger, work: Path) -> Iterator[Target]:
    """Yield each text with the teacher's probabilities; files in `work` keep what has been said."""
    began = time.monotonic()
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[first : first + TEXTS_AT_ONCE]
        yield from _part(some, teacher, work / f"soft-{first:08}.npz")
        done = first + len(some)
        left = (time.monotonic() - began) / done * (len(texts) - done)
        log.info("teachers: %d of %d texts, about %.0f s left", done, len(texts), left)


def _part(texts: Sequence[str], teacher: OnePassTagger, path: Path) -> Iterator[Target]:
    if not path.exists():
        _ask(texts, teacher, path)
    with np.load(path) as said:
        tags, related = said["tags"], said["related"]
    for text in texts:
        own = words(text)
        mine, tags = tags[: len(own)], tags[len(own) :]
        read = ReadText(text, own, (), mine.astype(np.float32), mine.any(axis=1))
        asked = teacher.asked(read, teacher.entities(read)[0])
        count = len(asked.places)
        linked = related[:count].astype(np.float32)
        yield Target(text, own, mine, asked.words, asked.told, linked)
        related = related[count:]
    if len(tags) or len(related):
        raise DataError(f"{path}: other texts' or another code's: remove it")


def _ask(texts: Sequence[str], teacher: OnePassTagger, path: Path) -> None:
    """Write ``[words, tags]`` and, among the entities that these tags hold, ``[pairs, relations]``.

    Entities are read off the rounded numbers, which is what will be read from the file.
    """
    read = [
        replace(text, probabilities=text.probabilities.astype(np.float16).astype(np.float32))
        for text in teacher.read([Unit(text) for text in texts])
    ]
    scored = teacher.pair_scores(read, [teacher.entities(text)[0] for text in read])
    tags = np.concatenate([text.probabilities for text in read])
    related = np.concatenate([scores for _, scores in scored])
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, tags=tags.astype(np.float16), related=related.astype(np.float16))
    partial.replace(path)
