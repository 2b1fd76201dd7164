"""Distillation: a student is trained on an ensemble's probabilities for notes without annotation.

Source: arXiv 1503.02531, with unlabelled text of the task's own kind.
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
import transformers

from spanlake.config.extractors import TaggerConfig
from spanlake.config.train import DistilConfig
from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Note, Unit, units_of
from spanlake.errors import DataError
from spanlake.models.loading import read_manifest
from spanlake.models.network import most_pieces
from spanlake.models.tagger.extractor import EnsembleScores, OnePassTagger
from spanlake.models.tagger.folder import KIND, folders_fingerprint, locate, save
from spanlake.text.sentences import split
from spanlake.training import run_dir
from spanlake.training.examples import LabelledText, read_unlabelled
from spanlake.training.features import cut_sentences, pack_sentences
from spanlake.training.leakage import training_text_hashes
from spanlake.training.tagger import finetune, load_base_model, read_temperatures
from spanlake.training.tagger_loss import finetune_relation_head

SOFT_LABELS = ".teachers"  # folder of the teachers' predictions; removed when the student is done
TEXTS_PER_FILE = 2048  # at most so many are predicted again after a crash

log = logging.getLogger(__name__)


def distil(config: DistilConfig, *, export: bool = True) -> dict[str, Any]:
    """Train a student on the teachers' predictions; return its metrics.

    The student is a tagger's folder, to be used or to be trained further (`model:`). The teachers'
    predictions are kept until the student is done, so neither a resumed training nor another
    student of the same teachers predicts again. Raises ConfigError where `config.output_dir` holds
    a model of another recipe, unless `config.resume` is false.
    """
    run_dir.require_single_process("distillation")
    labels, output_dir, notes = (
        load_labels(config.labels),
        Path(config.output_dir),
        read_unlabelled(config),
    )
    temperatures = read_temperatures(config.calibration, labels)
    ensemble = teachers_config(config)
    teachers = folders_fingerprint(locate(ensemble, labels), ensemble, labels)
    recipe = run_dir.recipe_of(
        config, run_dir.text_digest(notes), teachers=teachers, calibration=temperatures
    )

    transformers.set_seed(config.seed)  # new heads are initialised at random
    module, tokenizer = load_base_model(config.model, labels, config.dropout)
    limit = most_pieces(module.backbone, tokenizer, config.max_tokens)

    work = run_dir.train_or_resume(output_dir, KIND, recipe, resume=config.resume)
    if work is not None:
        texts = different_sentences(notes)
        key = "\x1f".join((str(run_dir.TRAINER_VERSION), teachers, *texts))
        folder = output_dir / SOFT_LABELS / hashlib.sha256(key.encode()).hexdigest()[:16]
        if not config.resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        labelled = soft_labels(texts, OnePassTagger(ensemble), folder)
        sentences = cut_sentences(labelled, tokenizer, limit=limit, stride=config.stride)
        metrics = finetune(module, sentences, tokenizer, limit, config, work)
        metrics["relation_head_loss_by_epoch"] = finetune_relation_head(
            module,
            pack_sentences(sentences, tokenizer, limit=limit),
            tokenizer.pad,
            epochs=config.relation_head_epochs,
            seed=config.seed,
        )
        hashes = set().union(*map(training_text_hashes, [config.model, *config.teachers]))
        details = {
            "longest": limit + tokenizer.specials,
            "context": 0,
            "calibration": temperatures,
            "training": {
                "recipe": recipe,
                "training_text_hashes": sorted(hashes),
                "notes": len(notes),
                "texts": len(texts),
                **metrics,
            },
        }
        save(module, tokenizer, labels, output_dir, details, graphs=export)
        run_dir.remove_work(output_dir)

    metrics = dict(read_manifest(output_dir, KIND)["training"])
    run_dir.write_json(output_dir / run_dir.METRICS, metrics)
    shutil.rmtree(output_dir / SOFT_LABELS, ignore_errors=True)
    return metrics


def teachers_config(config: DistilConfig) -> TaggerConfig:
    """Return the configuration of the ensemble: as the student's, but without a threshold."""
    return run_dir.reading_config(
        TaggerConfig,
        config,
        {"model": None, "models": config.teachers, "entity_threshold": 0.0},
    )


def different_sentences(notes: Sequence[Note]) -> list[str]:
    """Return the different sentences of the notes, in order."""
    sentences: dict[str, None] = {}
    for note in notes:
        for unit in units_of(note.note_text, split(note.note_text)):
            sentences[unit.target] = None
    return list(sentences)


def soft_labels(
    texts: Sequence[str], teacher: OnePassTagger, folder: Path
) -> Iterator[LabelledText]:
    """Yield each text with the teacher's probabilities; predictions are cached in `folder`."""
    began = time.monotonic()
    for first in range(0, len(texts), TEXTS_PER_FILE):
        some = texts[first : first + TEXTS_PER_FILE]
        path = folder / f"soft-{first:08}.npz"
        if not path.exists():
            _predict(some, teacher, path)
        yield from _read_predictions(some, teacher, path)
        done = first + len(some)
        left = (time.monotonic() - began) / done * (len(texts) - done)
        log.info("teachers: %d of %d texts, about %.0f s left", done, len(texts), left)


def _predict(texts: Sequence[str], teacher: OnePassTagger, path: Path) -> None:
    """Write ``[words, tags]`` and, for the entities of these tags, ``[pairs, relations]``.

    Entities are decoded from the rounded probabilities, which are those in the file.
    """
    encoded = [
        replace(text, probabilities=text.probabilities.astype(np.float16).astype(np.float32))
        for text in teacher.read([Unit(text) for text in texts])
    ]
    scored = teacher.pair_scores(encoded, [teacher.entities(text)[0] for text in encoded])
    tags = np.concatenate([text.probabilities for text in encoded])
    pairs = np.concatenate([scores for _, scores in scored])
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, tags=tags.astype(np.float16), pairs=pairs.astype(np.float16))
    partial.replace(path)


def _read_predictions(
    texts: Sequence[str], teacher: OnePassTagger, path: Path
) -> Iterator[LabelledText]:
    with np.load(path) as predictions:
        tags, pair_labels = predictions["tags"], predictions["pairs"]
    for text in texts:
        text_words = words(text)
        count = len(text_words)
        text_tags, tags = tags[:count], tags[count:]
        decoded = EnsembleScores(
            text, text_words, (), text_tags.astype(np.float32), text_tags.any(axis=1)
        )
        pairs = teacher.candidate_pairs(decoded, teacher.entities(decoded)[0])
        count = len(pairs.places)
        text_pairs, pair_labels = pair_labels[:count].astype(np.float32), pair_labels[count:]
        yield LabelledText(text, text_words, text_tags, pairs.words, pairs.features, text_pairs)
    if len(tags) or len(pair_labels):
        raise DataError(f"{path}: predictions of other texts or of other code; remove it")
