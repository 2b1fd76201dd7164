"""Language models: which files they are, their fingerprint, the memory they need, and loading.

A folder trained by Spanlake holds an adapter (LoRA, arXiv 2106.09685) and names its base::

    spanlake.json                                   kind, label set, base and its digests, recipe
    adapter_config.json  adapter_model.safetensors  the adapter, as PEFT writes it

Any other folder is a Hugging Face checkpoint of a causal language model. Nothing is imported from
torch until `load`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from spanlake.config.extractors import LlamaConfig
from spanlake.core.labels import LabelSet, labels_digest, load_labels
from spanlake.errors import ModelError
from spanlake.models.devices import gains_from_bf16, own_device
from spanlake.models.llama.prompts import PROMPT_VERSION, PromptStyle
from spanlake.models.loading import (
    MANIFEST,
    check_labels,
    file_digests,
    find_folder,
    missing_packages,
    read_manifest,
    training_text_hashes,
)
from spanlake.models.tokenization import checkpoint_tokenizer

EXTRACTOR_VERSION = 1  # raise when the code gives other answers for the same weights and options
ANSWER_OPTIONS = ("kind", "constrained", "max_tokens", "precision")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
NF4_BYTES, INT8_BYTES = 0.52, 1.01  # of a weight, with its share of the (quantized) scales
GIB = 2**30

Quantization = Literal["none", "nf4", "int8"]


@dataclass(frozen=True, slots=True)
class LlamaFolder:
    """A base with the adapter that was trained over it, or a checkpoint as it is.

    `files` are the digests of all that can change an answer.
    """

    base: Path
    adapter: Path | None
    quantization: Quantization
    prompt: PromptStyle
    files: Mapping[str, str] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def training_text_hashes(self) -> frozenset[str] | None:
        """Hashes of the notes in the training data of the adapter; None for a plain checkpoint."""
        return training_text_hashes(self.manifest) if self.adapter else None


def locate(config: LlamaConfig, labels: LabelSet) -> LlamaFolder:
    """Find the files of a configuration.

    Raises ModelError when one is missing or is not what the manifest says, or the adapter was
    trained for another label set or kind of answer.
    """
    top = find_folder(config.model)
    quantization, prompt = config.quantization, config.prompt
    if not (top / MANIFEST).is_file():
        return LlamaFolder(
            top,
            None,
            "none" if quantization == "auto" else quantization,
            "instruct" if prompt == "auto" else prompt,
            base_digests(top),
        )
    manifest = read_manifest(top, config.kind)
    check_labels(top, manifest, labels)
    adapter = {n: d for n, d in file_digests({"": top}).items() if n in ADAPTER_FILES}
    if adapter != manifest["files"]:
        raise ModelError(f"{top}: the adapter is not the one that was trained (sha256 differs)")
    try:
        base = find_folder(config.base or manifest["base"]["name"])
    except ModelError as error:
        raise ModelError(
            f"{top}: its base is missing; name it by extractor.base: {error}"
        ) from None
    files = base_digests(base)
    if files != manifest["base"]["files"]:
        raise ModelError(f"{base}: not the base that {top} was trained over (sha256 differs)")
    return LlamaFolder(
        base,
        top,
        manifest["quantization"] if quantization == "auto" else quantization,
        manifest["prompt"] if prompt == "auto" else prompt,
        {**files, **{f"adapter/{name}": digest for name, digest in adapter.items()}},
        manifest,
    )


def base_digests(base: Path) -> dict[str, str]:
    """Return the digests of the files of a checkpoint that can change an answer."""
    files = file_digests({"": base})
    return {
        n: d for n, d in files.items() if not n.endswith((".bin", ".xml")) and n != "metrics.json"
    }


def folder_fingerprint(folder: LlamaFolder, config: LlamaConfig, labels: LabelSet) -> str:
    """Return the hash of all that can change an answer; drafts, device and batches cannot."""
    parts = {
        "extractor": f"llama {EXTRACTOR_VERSION} {PROMPT_VERSION}",
        "labels": labels_digest(labels),
        "definitions": [labels.main, labels.modifier] if folder.prompt == "instruct" else [],
        "options": config.model_dump(include=set(ANSWER_OPTIONS)),
        "quantization": folder.quantization,
        "prompt": folder.prompt,
        "files": dict(folder.files),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprint(config: LlamaConfig) -> str:
    """Return the fingerprint of a configuration without loading weights."""
    labels = load_labels(config.labels)
    return folder_fingerprint(locate(config, labels), config, labels)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a model needs on its device: weights, and one batch of `max_tokens_per_batch`.

    A batch's part is the keys and values of one layer, and the LM head's scores of a chunk of
    positions (`torch_engine.POSITIONS_AT_ONCE`).
    """

    weights: int
    batch: int

    @property
    def total(self) -> int:
        return self.weights + self.batch


def needed_memory(
    base: Path, quantization: Quantization, bytes_per_weight: int, tokens: int, positions: int
) -> Memory:
    """Compute the memory of a checkpoint from the headers of its safetensors files.

    Embeddings and norms are never quantized. Raises ModelError where there are no such files.
    """
    weights = 0.0
    for name, shape in _tensor_shapes(base).items():
        count = 1
        for size in shape:
            count *= size
        linear = len(shape) == 2 and "embed" not in name and "lm_head" not in name
        quantized = {"nf4": NF4_BYTES, "int8": INT8_BYTES}.get(quantization) if linear else None
        weights += count * (quantized or bytes_per_weight)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    wide = config.get("intermediate_size", 4 * hidden)
    activations = tokens * (8 * hidden + 3 * wide) * bytes_per_weight
    return Memory(int(weights), int(activations + positions * vocabulary * (4 + bytes_per_weight)))


def _tensor_shapes(base: Path) -> dict[str, list[int]]:
    """Return the shapes of all tensors; the header is JSON after its length in 8 bytes."""
    shapes: dict[str, list[int]] = {}
    for path in sorted(base.glob("*.safetensors")):
        with path.open("rb") as file:
            [length] = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        shapes |= {name: tensor["shape"] for name, tensor in header.items() if name[:2] != "__"}
    if not shapes:
        raise ModelError(f"{base}: no *.safetensors (pickled weights and GGUF are not read)")
    return shapes


def preflight(folder: LlamaFolder, config: LlamaConfig, device: str, positions: int) -> Memory:
    """Return the memory that a model will need; raises ModelError where the device has less."""
    bytes_per_weight = 2 if uses_bf16(config.precision, device) else 4
    needed = needed_memory(
        folder.base, folder.quantization, bytes_per_weight, config.max_tokens_per_batch, positions
    )
    free = free_memory(device)
    if free is not None and needed.total > free:
        raise ModelError(
            f"{folder.base}: needs {needed.total / GIB:.1f} GiB on {device} (weights"
            f" {needed.weights / GIB:.1f}, a batch {needed.batch / GIB:.1f}), and"
            f" {free / GIB:.1f} GiB are free: take quantization: nf4, fewer max_tokens_per_batch,"
            " or a smaller model"
        )
    return needed


def free_memory(device: str) -> int | None:
    """Return the free bytes of a device; of a CPU, what the system and the container leave."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    limits = []
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        [line] = [line for line in meminfo.splitlines() if line.startswith("MemAvailable:")]
        limits.append(int(line.split()[1]) * 1024)
        group = Path("/sys/fs/cgroup")
        limits.append(
            int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        )
    except (OSError, ValueError):  # not Linux, or no limit
        pass
    return min(limits, default=None)


def uses_bf16(precision: str, device: str) -> bool:
    """Return whether a model runs in bfloat16 with this `precision`."""
    return gains_from_bf16(device) if precision == "auto" else precision == "bf16"


def load(folder: LlamaFolder, config: LlamaConfig, positions: int) -> tuple[Any, Any, str]:
    """Return the model in evaluation mode, its tokenizer, and its device.

    Raises ModelError for what cannot be loaded, and for missing packages.
    """
    device = own_device(config.device)
    preflight(folder, config, device, positions)
    model = load_base(folder.base, folder.quantization, device, config.precision)
    if folder.adapter is not None:
        try:
            from peft import PeftModel
        except ImportError:
            raise missing_packages("llama", "peft") from None
        model = PeftModel.from_pretrained(model, folder.adapter, local_files_only=True)
        model = model.get_base_model()  # the adapter's layers stay where they are
    return model.eval(), checkpoint_tokenizer(folder.base, add_prefix_space=False), device


def load_base(base: Path, quantization: Quantization, device: str, precision: str) -> Any:
    """Return the causal language model of a checkpoint, on its device."""
    import torch
    from transformers import AutoModelForCausalLM

    from spanlake.models.network import load_checkpoint

    dtype = torch.bfloat16 if uses_bf16(precision, device) else torch.float32
    options: dict[str, Any] = {"dtype": dtype}
    if quantization != "none":
        options |= {"quantization_config": _quantization(quantization, dtype), "device_map": device}
    model, missing = load_checkpoint(AutoModelForCausalLM, base, **options)
    missing = [name for name in missing if name != "lm_head.weight"]
    if missing:
        raise ModelError(
            f"{base}: no weights for {', '.join(missing[:4])}: no causal language model"
        )
    return model if quantization != "none" else model.to(device)


def _quantization(quantization: Quantization, dtype: Any) -> Any:
    try:
        import bitsandbytes  # noqa: F401
        from transformers import BitsAndBytesConfig
    except ImportError:
        raise missing_packages("llama", "bitsandbytes") from None
    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
