"""Model folders of any kind: where they are, and their manifest. Nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from spanlake import __version__
from spanlake.config.extractors import ExtractorConfig
from spanlake.core.labels import LabelSet, labels_digest
from spanlake.errors import ModelError

log = logging.getLogger(__name__)

MANIFEST = "spanlake.json"
BUNDLED = "small"
UNKNOWN = "unknown"  # begins what stands for the texts of a base that does not tell its own
# what transformers and OpenVINO may read for an answer
READ_FILES = (".json", ".safetensors", ".txt", ".model", ".xml", ".bin")
OLD_OPTIONS = {"max_pair_distance": "max_pair_words"}  # names of options in older manifests
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def bundled() -> Path:
    """Return the folder of the default model, which comes with the installed package."""
    folder = Path(str(resources.files("spanlake"))) / "weights" / BUNDLED
    if not folder.is_dir():
        raise ModelError(
            "the bundled model is not here (it cannot be read from a zip): install the wheel, name"
            " extractor.model, or set extractor.kind to dictionary"
        )
    return folder


def find_folder(name: str) -> Path:
    """Return the folder of a path, of `small`, or of a Hugging Face name downloaded before.

    Never downloads. Raises ModelError that says how to get what is missing.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name == BUNDLED:
        return bundled()
    if not HUB_NAME.fullmatch(name):
        raise ModelError(
            f"no model folder {name}; train it first: jobs/train.py (build/models/base: `make"
            " model-base`)"
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise missing_packages() from None
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        raise ModelError(
            f"no model folder {name}, and no such model in the Hugging Face cache;"
            f" download it first with `hf download {name}`, or train one: jobs/train.py"
        ) from None


def missing_packages(
    extra: str = "infer", needed: str | None = "torch and transformers"
) -> ModelError:
    """Return the error for an installation without the packages of an extra.

    It names files, not `spanlake[...]`: no package index has us.
    """
    wheel = f"dist/spanlake-{__version__}-py3-none-any.whl"
    return ModelError(
        f"{needed} not installed: in the checkout run `make setup` or `pip install '.[{extra}]'`,"
        f" or give pip the wheel of `make dist`: `pip install '{wheel}[{extra}]'`"
    )


def write_manifest(
    top: Path, kind: str, labels: LabelSet, more: Mapping[str, Any], files: Mapping[str, str]
) -> None:
    """Write `spanlake.json`, which makes `top` a model folder: do this last."""
    content = {
        "kind": kind,
        "labels": labels.name,
        "labels_sha256": labels_digest(labels),
        **more,
        "files": dict(files),
    }
    temporary = top / f".{MANIFEST}"
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(top / MANIFEST)


def read_manifest(top: Path, kind: str, hint: str = "") -> dict[str, Any]:
    """Return `spanlake.json`; raises ModelError when there is none, or of another kind."""
    path = top / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["kind"] != kind:
            raise ModelError(f"{path}: kind is {manifest['kind']!r}, expected {kind!r}")
        return manifest
    except FileNotFoundError:
        raise ModelError(
            f"{top}: no {MANIFEST}, so not a {kind} model that Spanlake trained{hint}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable ({type(error).__name__})") from None


def training_text_hashes(manifest: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the hashes (`Note.text_sha256`) of the annotated notes in a model's training data.

    Those of its base and its teachers are among them. None for a model that does not tell.
    """
    training = manifest.get("training", {})
    hashes = training.get("training_text_hashes", training.get("learnt_texts"))
    if hashes is None or any(text_hash.startswith(UNKNOWN) for text_hash in hashes):
        return None
    return frozenset(hashes)


def check_labels(top: Path, manifest: Mapping[str, Any], labels: LabelSet) -> None:
    """Raise ModelError when a model was trained on another label set."""
    if manifest.get("labels_sha256") != labels_digest(labels):
        raise ModelError(
            f"{top}: trained on label set {manifest.get('labels')!r} as it stood then, which is not"
            f" {labels.name!r} as it stands now"
        )


def warn_of_other_options(
    top: Path, manifest: Mapping[str, Any], config: ExtractorConfig, options: Iterable[str]
) -> None:
    """Log a warning for each of the `options` that a model was trained with otherwise."""
    recipe = manifest.get("training", {}).get("recipe", {})
    for name in options:
        trained, given = recipe.get(name, recipe.get(OLD_OPTIONS.get(name))), getattr(config, name)
        if trained not in (None, given):
            log.warning("%s: trained with %s=%s, read with %s", top, name, trained, given)


def file_digests(folders: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of every file that can change an answer, by "part/file name".

    The part may be empty.
    """
    return {
        f"{part}/{path.name}".lstrip("/"): _sha256(path)
        for part, folder in folders.items()
        for path in sorted(folder.iterdir())
        if path.suffix in READ_FILES and not path.name.startswith(".") and path.name != MANIFEST
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
