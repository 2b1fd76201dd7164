"""The folder of a one-pass tagger: what is in it, its fingerprint, and how it is written.

::

    spanlake.json                 kind, label set, shape, limits, sha256 of every file, recipe
    tokenizer.json                the Rust tokenizer
    encoder.xml .bin  linker...   the graphs that OpenVINO runs (weights as float16)
    config.json model.safetensors the backbone's configuration and all weights, for torch
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spanlake.config.extractors import TaggerConfig
from spanlake.core.labels import LabelSet, labels_digest
from spanlake.errors import ConfigError, ModelError
from spanlake.models.decoding import Calibration
from spanlake.models.loading import (
    MANIFEST,
    bundled,
    check_labels,
    file_digests,
    find_folder,
    missing_packages,
    read_manifest,
    warn_of_other_options,
    write_manifest,
)
from spanlake.models.tagger.engines import GRAPHS
from spanlake.models.tagger.features import feature_count, rule_digest
from spanlake.models.tokenization import WordTokenizer

if TYPE_CHECKING:
    from spanlake.models.tagger.module import OnePass

EXTRACTOR_VERSION = 3  # raise when the code gives other answers for the same weights and options
KIND = "tagger"
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
FILES = (*GRAPHS, TOKENIZER, "config.json", WEIGHTS)
SHAPING = (
    "pad",
    "longest",
    "shape",
    "calibration",
    "decoder",
)  # what the manifest itself says of how texts are read
TRAINED_OPTIONS = ("max_tokens", "stride", "max_pair_distance")
ANSWER_OPTIONS = (
    *TRAINED_OPTIONS,
    "entity_threshold",
    "pair_threshold",
    "relation_threshold",
    "calibration",
    "precision",
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A model folder whose files are what its manifest says."""

    path: Path
    manifest: Mapping[str, Any]

    def pieces(self) -> WordTokenizer:
        """Return the tokenizer."""
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise missing_packages("cpu", "tokenizers") from None
        backend = Tokenizer.from_file(str(self.path / TOKENIZER))
        return WordTokenizer(
            backend,
            pad=self.manifest["pad"],
            longest=self.manifest["longest"],
            of_decoder="decoder" in self.manifest,
        )

    @property
    def read_twice(self) -> bool:
        """Whether the model reads each text twice, and tags it the second time."""
        return bool(self.manifest.get("decoder", {}).get("attention") == "twice")


def locate(config: TaggerConfig, labels: LabelSet) -> list[Folder]:
    """Return the folders that `config` names, that of the bundled `small` when it names none.

    Raises ModelError when one is missing, of another kind or label set, or a file has changed;
    ConfigError for more neighbours than a model was trained with, and for temperatures of other
    layers.
    """
    named = config.models or ([config.model] if config.model else [])
    tops = [find_folder(name) for name in named] or [bundled()]
    folders = [checked(top, labels) for top in tops]
    for folder in folders:
        read = config.model_copy(update={"max_tokens": _longest([folder], config)})
        warn_of_other_options(folder.path, folder.manifest, read, TRAINED_OPTIONS)
    most = min(folder.manifest.get("context", 0) for folder in folders)
    if config.context > most:
        raise ConfigError(f"context is {config.context}: the model was trained with {most}")
    layers = len(labels.layers)
    if config.calibration and len(config.calibration.tags) != layers:
        raise ConfigError(f"extractor.calibration.tags: {labels.name} has {layers} layers")
    return folders


def calibration_of(
    folders: Sequence[Folder], config: TaggerConfig, labels: LabelSet
) -> Calibration:
    """Return the temperatures of `config`, else the mean of the models' own, 1 for one without."""
    if config.calibration:
        return Calibration(config.calibration.tags, config.calibration.pairs)
    neutral = Calibration((1.0,) * len(labels.layers)).as_dict()
    calibrations = [folder.manifest.get("calibration") or neutral for folder in folders]
    tags = np.mean([calibration["tags"] for calibration in calibrations], axis=0)
    return Calibration(
        tuple(tags.tolist()), float(np.mean([calibration["pairs"] for calibration in calibrations]))
    )


def _longest(folders: Sequence[Folder], config: TaggerConfig) -> int:
    """Return `max_tokens` as it is read with: no model reads more at once than it was made for."""
    return min(config.max_tokens, max(folder.manifest["longest"] for folder in folders))


def checked(top: Path, labels: LabelSet) -> Folder:
    """Return a tagger's folder; raises ModelError as `locate` does."""
    manifest = read_manifest(top, KIND)
    check_labels(top, manifest, labels)
    there = _files(top)
    if TOKENIZER not in there:
        raise ModelError(f"{top}: {TOKENIZER} is missing: copy the whole folder")
    for name, digest in manifest["files"].items():
        if there.get(name, digest) != digest:
            raise ModelError(f"{top}: {name} is not the file that was trained (sha256 differs)")
    if manifest["shape"]["pair_features"] != feature_count(labels):
        raise ModelError(f"{top}: trained by a version that describes pairs otherwise; train anew")
    return Folder(top, manifest)


def _files(top: Path) -> dict[str, str]:
    """Return the digests of the model's own files; metrics and cards are not among them."""
    return {name: digest for name, digest in file_digests({"": top}).items() if name in FILES}


def folders_fingerprint(folders: Sequence[Folder], config: TaggerConfig, labels: LabelSet) -> str:
    """Return the hash of all that can change an answer; device, engine and batch size cannot."""
    members = [
        {"files": folder.manifest["files"], **{name: folder.manifest.get(name) for name in SHAPING}}
        for folder in folders
    ]
    parts = {
        "extractor": f"{KIND} {EXTRACTOR_VERSION}",
        "labels": labels_digest(labels),
        "far_reaching": labels.far_reaching,
        "options": {
            **config.model_dump(include=set(ANSWER_OPTIONS), exclude_none=True),
            "max_tokens": _longest(folders, config),
        },
        "models": members,
        "rule": rule_digest(labels),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def save(
    module: OnePass,
    pieces: WordTokenizer,
    labels: LabelSet,
    top: Path,
    more: Mapping[str, Any],
    *,
    graphs: bool = True,
) -> None:
    """Write a trained module as a model folder; the manifest comes last.

    Without `graphs` nothing is exported for OpenVINO, and the folder is read with torch.
    """
    from safetensors.torch import save_file

    from spanlake.models.tagger.decoder import trained_state

    top.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, *FILES):
        (top / name).unlink(missing_ok=True)
    backbone = deepcopy(module.backbone.config)
    backbone.architectures = ["OnePass"]  # the weights are no plain encoder's
    backbone.save_pretrained(top)
    pieces.backend.save(str(top / TOKENIZER))
    save_file(trained_state(module), top / WEIGHTS)
    if graphs:
        from spanlake.models.tagger.export import export

        export(module, top)
    details = {
        "shape": module.shape.as_dict(),
        "pad": pieces.pad,
        **more,
    }
    write_manifest(top, KIND, labels, details, _files(top))


def load_module(top: Path, *, device: str = "cpu", precision: str = "fp32") -> OnePass:
    """Return the torch module of a model folder, not yet in evaluation mode.

    It is float32 on the CPU; the base of a decoder's adapter is loaded on `device` and as
    `precision` says.
    """
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModel

    from spanlake.models.tagger.decoder import load_decoder, trained_state
    from spanlake.models.tagger.module import OnePass, Shape

    if not (top / WEIGHTS).is_file():
        raise ModelError(
            f"{top}: no {WEIGHTS}, only exported graphs: they are read with on a CPU, and cannot be"
            " trained further"
        )
    manifest = read_manifest(top, KIND)
    shape = dict(manifest["shape"])
    if shape.pop("mixed_layers", 1) > 1:  # written by earlier versions
        raise ModelError(f"{top}: trained with mixed_layers, which are no longer read; train anew")
    if decoder := manifest.get("decoder"):
        backbone = load_decoder(decoder, device, precision)
    else:
        backbone = AutoModel.from_config(AutoConfig.from_pretrained(top, local_files_only=True))
    module = OnePass(backbone, Shape(**{**shape, "tags": tuple(shape["tags"])}))
    state = load_file(top / WEIGHTS)
    if state.keys() != trained_state(module).keys():
        raise ModelError(f"{top}: {WEIGHTS} lacks weights, or holds others: train anew")
    module.load_state_dict(state, strict=False)  # a frozen base is not among them
    return module
