"""From a trained torch module to the graphs that OpenVINO runs, weights stored as float16."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spanlake.models.tagger.engines import ENCODER, LINKER, import_openvino

if TYPE_CHECKING:
    from spanlake.models.tagger.module import OnePass


def export(module: OnePass, top: Path) -> None:
    """Write the encoder's and the linker's graph into `top`."""
    module = module.to("cpu").eval()
    ids = torch.ones((2, 7), dtype=torch.int64)
    with _plain_attention(module.backbone):
        _write(module, (ids, ids), top / ENCODER)
    if module.linker is not None:
        hidden = module.backbone.config.hidden_size
        spans = torch.zeros((3, 2 * hidden))
        features = torch.zeros((3, module.shape.pair_features))
        _write(module.linker, (spans, spans, features), top / LINKER)


@contextmanager
def _plain_attention(backbone: Any) -> Iterator[None]:
    """Write out the attention of a backbone whose layers see a window of neighbours (ModernBERT).

    Padding beyond the window sees nothing but padding; the fused attention of OpenVINO makes no
    numbers of that, and spoils real words with them.
    """
    used = getattr(backbone.config, "_attn_implementation", None)
    local = getattr(backbone.config, "local_attention", None)
    if local:
        backbone.set_attn_implementation("eager")
    try:
        yield
    finally:
        if local:
            backbone.set_attn_implementation(used)


def _write(module: Any, example: tuple[Any, ...], path: Path) -> None:
    openvino = import_openvino()
    # Tracing warns of Python values that become constants; a test compares graph and torch.
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        graph = openvino.convert_model(module, example_input=example)
    openvino.save_model(graph, path, compress_to_fp16=True)
