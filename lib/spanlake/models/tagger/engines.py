"""What runs a one-pass tagger: OpenVINO on a CPU, without torch, or torch on a GPU.

Both map numpy arrays to numpy arrays and give the same numbers, to float tolerance.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from spanlake.core.errors import ModelError
from spanlake.models.loading import missing_packages

ENCODER, LINKER = "encoder.xml", "linker.xml"
GRAPHS = (ENCODER, "encoder.bin", LINKER, "linker.bin")


class Engine(Protocol):
    """Runs the two graphs of a tagger; `device` says where, and in which precision."""

    device: str
    out_of_memory: type[BaseException]

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map ``[batch, pieces]`` ids to tag logits and hidden states of each piece."""
        ...

    def link(self, heads: np.ndarray, tails: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Map pairs' span vectors and features to ``[pairs, relations]`` logits."""
        ...


class OpenVino:
    """The exported graphs on the CPU, by so many `threads`, or by all cores for 0."""

    out_of_memory: type[BaseException] = MemoryError

    def __init__(self, folder: Path, *, threads: int, links: bool) -> None:
        openvino = import_openvino()
        missing = [name for name in GRAPHS[: 4 if links else 2] if not (folder / name).is_file()]
        if missing:
            raise ModelError(f"{folder}: {', '.join(missing)} missing: copy the whole folder")
        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        options["INFERENCE_PRECISION_HINT"] = "f32"
        self._encoder = core.compile_model(folder / ENCODER, "CPU", options)
        self._linker: Any = core.compile_model(folder / LINKER, "CPU", options) if links else None
        self.device = "cpu openvino fp32"

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        read = self._encoder([ids, mask])
        return read[0], read[1]

    def link(self, heads: np.ndarray, tails: np.ndarray, features: np.ndarray) -> np.ndarray:
        return self._linker([heads, tails, features])[0]


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry: nothing leaves the machine."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise missing_packages("cpu", "openvino") from None
    return openvino


class Torch:
    """The trained weights by torch: on a GPU, or where there are no exported graphs."""

    def __init__(self, folder: Path, *, device: str, precision: str) -> None:
        import torch

        from spanlake.models.devices import gains_from_bf16, own_device
        from spanlake.models.tagger.folder import load_module

        self._torch = torch
        self._where = own_device(device)
        self._bf16 = gains_from_bf16(self._where) if precision == "auto" else precision == "bf16"
        self._module = load_module(folder).to(self._where).eval()
        self.device = f"{self._where} torch {'bf16' if self._bf16 else 'fp32'}"
        self.out_of_memory: type[BaseException] = torch.OutOfMemoryError

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, states = self._run(self._module, ids, mask)
        return logits.float().cpu().numpy(), states.float().cpu().numpy()

    def link(self, heads: np.ndarray, tails: np.ndarray, features: np.ndarray) -> np.ndarray:
        return self._run(self._module.linker, heads, tails, features).float().cpu().numpy()

    def _run(self, module: Any, *arrays: np.ndarray) -> Any:
        torch = self._torch
        tensors = [torch.from_numpy(array).to(self._where) for array in arrays]
        with (
            torch.inference_mode(),
            torch.autocast(self._where.split(":")[0], torch.bfloat16, enabled=self._bf16),
        ):
            return module(*tensors)
