"""What runs a one-pass tagger: OpenVINO on a CPU, without torch, or torch on a GPU.

Both map numpy arrays to numpy arrays and give the same numbers, to float tolerance.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from spanlake.errors import ModelError
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

    def score_relations(
        self, heads: np.ndarray, tails: np.ndarray, features: np.ndarray
    ) -> np.ndarray:
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
        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        options["INFERENCE_PRECISION_HINT"] = "f32"
        compiled = partial(openvino.Core().compile_model, device_name="CPU", config=options)
        self._encoder = Graph(partial(compiled, folder / ENCODER))
        self._linker = Graph(partial(compiled, folder / LINKER)) if links else None
        self.device = "cpu openvino fp32"

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, states = self._encoder.run(ids, mask)
        return logits, states

    def score_relations(
        self, heads: np.ndarray, tails: np.ndarray, features: np.ndarray
    ) -> np.ndarray:
        assert self._linker is not None  # pairs are of relations
        [logits] = self._linker.run(heads, tails, features)
        return logits


class Graph:
    """A compiled graph of OpenVINO, that answers what it was asked or raises.

    Where memory fails, a synchronous call of OpenVINO 2026.4 says nothing and returns what it had
    said before, and the graph is broken from then on. An asynchronous one raises; the graph is
    compiled anew for the next.
    """

    def __init__(self, compiled: Callable[[], Any]) -> None:
        self._compiled = compiled
        self._request = compiled().create_infer_request()

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Return copies of the outputs; raises MemoryError when memory does not suffice."""
        request, self._request = self._request or self._compile_again(), None
        with _memory_errors():
            request.start_async(list(inputs))
            request.wait()
            outputs = [tensor.data.copy() for tensor in request.output_tensors]
        if any(len(output) != len(inputs[0]) for output in outputs):
            raise ModelError("the graph gave answers to something else than it was asked")
        self._request = request
        return outputs

    def _compile_again(self) -> Any:
        try:
            return self._compiled().create_infer_request()
        except RuntimeError:  # it could be once: what lacks is memory, whatever is said
            raise MemoryError("no memory left for the graph") from None


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if re.search("allocate|bad_alloc", str(error)):
            raise MemoryError("no memory left for the batch") from None
        raise


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
        try:
            import torch
        except ImportError:
            raise missing_packages() from None
        from spanlake.models.devices import gains_from_bf16, own_device
        from spanlake.models.network import cpu_memory_errors
        from spanlake.models.tagger.folder import load_module

        self._torch, self._memory_errors = torch, cpu_memory_errors
        self._where = own_device(device)
        self._bf16 = gains_from_bf16(self._where) if precision == "auto" else precision == "bf16"
        self._module = load_module(folder, device=self._where, precision=precision)
        self._module = self._module.to(self._where).eval()
        self.device = f"{self._where} torch {'bf16' if self._bf16 else 'fp32'}"
        self.out_of_memory: type[BaseException] = torch.OutOfMemoryError

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, states = self._run(self._module, ids, mask)
        return logits.float().cpu().numpy(), states.float().cpu().numpy()

    def score_relations(
        self, heads: np.ndarray, tails: np.ndarray, features: np.ndarray
    ) -> np.ndarray:
        return self._run(self._module.linker, heads, tails, features).float().cpu().numpy()

    def _run(self, module: Any, *arrays: np.ndarray) -> Any:
        torch = self._torch
        tensors = [torch.from_numpy(array).to(self._where) for array in arrays]
        with (
            self._memory_errors(),
            torch.inference_mode(),
            torch.autocast(self._where.split(":")[0], torch.bfloat16, enabled=self._bf16),
        ):
            return module(*tensors)
