"""Which device a process computes on: a GPU of its own for life, or the CPU."""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from spanlake.core.errors import ModelError, TransientError
from spanlake.models.loading import missing_packages

try:
    import torch
except ImportError:
    raise missing_packages() from None

WAIT_SECONDS = 60.0  # a worker that has just ended may not have let go yet
_HELD: list[int] = []  # file descriptors of our locks: closed when the process ends, never before


def pick_device(device: str) -> str:
    """Return ``cuda`` or ``cpu`` for a configured device; raises ModelError when it is missing."""
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ModelError("device is cuda, but torch sees no CUDA device")
    return ("cuda" if there else "cpu") if device == "auto" else device


def own_device(device: str) -> str:
    """Return ``cpu``, or the one GPU of this host that this process has locked, as ``cuda:N``.

    Spark gives tasks of one worker other addresses from task to task; the model stays where it
    is. Raises ModelError when no CUDA is there, TransientError when other processes hold all GPUs.
    """
    return "cpu" if pick_device(device) == "cpu" else _own_gpu()


@functools.cache
def _own_gpu() -> str:
    known = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return f"cuda:{lock_one([str(one.uuid) for one in known])}"


def lock_one(names: Sequence[str], wait_seconds: float = WAIT_SECONDS) -> int:
    """Lock one of the named devices of this host for the life of this process; return its place.

    Raises TransientError when all stay locked by other processes for `wait_seconds`.
    """
    until = time.monotonic() + wait_seconds
    while True:
        for position, name in enumerate(names):
            if _locked(Path(tempfile.gettempdir()) / f"spanlake-{os.getuid()}-{name}.lock"):
                return position
        if time.monotonic() >= until:
            raise TransientError(
                f"all {len(names)} GPUs of this host are held by other processes; run one task"
                " a GPU: spark.task.cpus = cores per GPU"
            )
        time.sleep(min(1.0, wait_seconds))


def _locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    _HELD.append(descriptor)
    return True


def gains_from_bf16(device: str) -> bool:
    """Tell whether bfloat16 is faster here: on CUDA of its generation, and on AMX processors."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
