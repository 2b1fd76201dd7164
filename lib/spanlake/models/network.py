"""One checkpoint on its device: sequences of pieces in, class probabilities out.

The only module of the `bert` extractor that touches torch; importing it is costly.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spanlake.errors import ModelError
from spanlake.models.batching import Tokens, pad, run_batched
from spanlake.models.devices import gains_from_bf16, own_device
from spanlake.models.loading import missing_packages
from spanlake.models.stats import Stats
from spanlake.models.tokenization import WordTokenizer, load_word_tokenizer

try:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
    from transformers.utils import logging as transformers_logging
except ImportError:
    raise missing_packages() from None

Head = Literal["words", "pairs"]
AUTO_MODELS: dict[Head, Any] = {
    "words": AutoModelForTokenClassification,
    "pairs": AutoModelForSequenceClassification,
}


class Network:
    """A loaded checkpoint with its tokenizer; `limit` is how many pieces of text fit a pass."""

    def __init__(
        self, folder: Path, head: Head, *, max_tokens: int, device: str, precision: str
    ) -> None:
        self.device = own_device(device)
        self.bf16 = gains_from_bf16(self.device) if precision == "auto" else precision == "bf16"
        self.pieces = load_word_tokenizer(folder)
        self.model = load_weights(folder, head).to(self.device).eval()
        self.limit = most_pieces(self.model, self.pieces, max_tokens)
        self.by_word = head == "words"
        names: dict[int, str] = self.model.config.id2label
        self.class_names = [names[i] for i in range(len(names))]

    def probabilities(
        self, sequences: Sequence[Sequence[int]], *, budget: int, stats: Stats
    ) -> list[np.ndarray]:
        """Return ``[pieces, classes]`` of each sequence, or ``[classes]`` for a pair model."""
        began = time.perf_counter()
        wrapped: list[Tokens] = [self.pieces.wrap(sequence) for sequence in sequences]
        answers = run_batched(
            wrapped, self._forward, budget=budget, stats=stats, out_of_memory=torch.OutOfMemoryError
        )
        stats.forward_seconds += time.perf_counter() - began
        return answers

    @torch.inference_mode()
    def _forward(self, batch: Sequence[Tokens]) -> list[np.ndarray]:
        ids, mask = pad(batch, self.pieces.pad)
        with (
            cpu_memory_errors(),
            torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.bf16),
        ):
            logits = self.model(
                input_ids=torch.from_numpy(ids).to(self.device),
                attention_mask=torch.from_numpy(mask).to(self.device),
            ).logits
        probabilities = logits.float().softmax(-1).cpu().numpy()
        if not np.isfinite(probabilities).all():
            raise ModelError("the model gives scores that are no numbers")
        if not self.by_word:
            return list(probabilities)
        first = len(self.pieces.before)
        last = len(self.pieces.after)
        return [probabilities[i, first : len(tokens) - last] for i, tokens in enumerate(batch)]


def load_weights(folder: Path, head: Head, classes: Sequence[str] = ()) -> Any:
    """Load a checkpoint with its head, or with a fresh one when `classes` are given.

    Raises ModelError as `load_checkpoint` does, and when more than a fresh head is missing.
    """
    fresh: dict[str, Any] = {}
    if classes:
        names = dict(enumerate(classes))
        fresh = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    model, missing = load_checkpoint(
        AUTO_MODELS[head], folder, ignore_mismatched_sizes=bool(classes), **fresh
    )
    body = f"{model.base_model_prefix}."
    missing = [name for name in missing if not classes or name.startswith(body)]
    if missing:
        need = "a text encoder" if classes else f"a model fine-tuned for {head}"
        raise ModelError(f"{folder}: not {need}: no weights for {', '.join(missing[:4])}")
    return model


def load_checkpoint(auto_model: Any, folder: Path, **options: Any) -> tuple[Any, list[str]]:
    """Load weights from safetensors; return the model and the weights that it lacks.

    They are float32 where `options` name no dtype. A pooler is not counted: nothing of ours reads
    one. Raises ModelError when the folder cannot
    be loaded or its weights are pickled.
    """
    try:
        with _quiet():
            model, report = auto_model.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **{"dtype": torch.float32, **options},
            )
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder}: cannot be loaded ({type(error).__name__}); needed: config.json and weights"
            " in model.safetensors (pickled weights are not read)"
        ) from None
    return model, [name for name in sorted(report["missing_keys"]) if "pooler." not in name]


@contextlib.contextmanager
def cpu_memory_errors() -> Iterator[None]:
    """Raise torch's own error where the CPU's allocator raises a plain RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise torch.OutOfMemoryError("no memory left for the batch") from None
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and reports of loading back: what is wrong, we say ourselves."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def most_pieces(model: Any, pieces: WordTokenizer, max_tokens: int) -> int:
    """Return how many pieces of text fit a pass of at most `max_tokens`, special tokens aside."""
    fitting = min(max_tokens, _positions(model), pieces.longest)
    return fitting - pieces.specials


def _positions(model: Any) -> int:
    positions = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
    for name, module in model.named_modules():
        filler = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and filler is not None:
            return positions - filler - 1  # RoBERTa and its kin count positions from there
    return positions
