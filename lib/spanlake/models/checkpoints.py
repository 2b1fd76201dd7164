"""The folder of a `bert` model: its three checkpoints, and the fingerprint. No torch is needed.

::

    main/ modifier/ relation/    Hugging Face folders: config.json, model.safetensors, tokenizer
    spanlake.json                kind, label set, sha256 of every file, training recipe
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spanlake.config.extractors import BertConfig
from spanlake.core.labels import LabelSet, labels_digest, load_labels
from spanlake.errors import ModelError
from spanlake.models.loading import (
    MANIFEST,
    check_labels,
    file_digests,
    find_folder,
    read_manifest,
    training_text_hashes,
    warn_of_other_options,
)

EXTRACTOR_VERSION = 3  # raise when the code gives other answers for the same weights and options
KIND = "bert"
PARTS = ("main", "modifier", "relation")
ANSWER_OPTIONS = (
    "label_map",
    "max_tokens",
    "stride",
    "max_pair_distance",
    "max_pair_tokens",
    "pair_threshold",
    "precision",
)
HINT = "; name other checkpoints by extractor.main, extractor.modifier and extractor.relation"
TRAINED_OPTIONS = ("max_tokens", "stride", "max_pair_distance", "max_pair_tokens")


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The parts of a `bert` model that are there, and the digests of their files.

    `training_text_hashes` are those of its training data, None where that is unknown.
    """

    folders: Mapping[str, Path]
    files: Mapping[str, str]
    training_text_hashes: frozenset[str] | None = None


def locate(config: BertConfig) -> Checkpoints:
    """Find the checkpoints that `config` names, and check them against their manifest.

    Raises ModelError when one is missing, a file is not what the manifest says, or the model was
    trained on another label set.
    """
    labels = load_labels(config.labels)
    if config.model:
        return _trained(find_folder(config.model), labels, config)
    named = {part: getattr(config, part) for part in PARTS}
    folders = {part: find_folder(name) for part, name in named.items() if name}
    return Checkpoints(folders, file_digests(folders))


def checkpoints_fingerprint(checkpoints: Checkpoints, config: BertConfig) -> str:
    """Return the hash of all that can change an answer: files, options, labels, our own version.

    Device and batch size are not among it.
    """
    options = config.model_dump(include=set(ANSWER_OPTIONS))
    labels = load_labels(config.labels)
    parts = {
        "extractor": f"bert {EXTRACTOR_VERSION}",
        "labels": labels_digest(labels),
        "far_reaching": labels.far_reaching,
        "options": options,
        "files": dict(checkpoints.files),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _trained(top: Path, labels: LabelSet, config: BertConfig) -> Checkpoints:
    manifest = read_manifest(top, KIND, HINT)
    check_labels(top, manifest, labels)
    folders = parts_of(top)
    if not folders:
        raise ModelError(f"{top}: none of {', '.join(PARTS)} is there")
    files = file_digests(folders)
    _check_files(top, manifest.get("files", {}), files)
    warn_of_other_options(top, manifest, config, TRAINED_OPTIONS)
    return Checkpoints(folders, files, training_text_hashes(manifest))


def _check_files(top: Path, expected: Mapping[str, str], hashes: Mapping[str, str]) -> None:
    for name in sorted({*expected, *hashes}):
        if name not in hashes:
            raise ModelError(f"{top}: {name} is missing")
        if name not in expected:
            raise ModelError(f"{top}: {name} is not in {MANIFEST}")
        if expected[name] != hashes[name]:
            raise ModelError(f"{top}: {name} is not the file that was trained (sha256 differs)")


def parts_of(top: Path) -> dict[str, Path]:
    """Return the folders of the models that a `bert` folder holds."""
    return {part: top / part for part in PARTS if (top / part).is_dir()}
