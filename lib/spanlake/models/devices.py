"""Which device a process computes on: a GPU of its own for life, or the CPU.

Torch is imported where it is called: locks and marks need none.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spanlake.errors import ModelError, TransientError
from spanlake.models.loading import missing_packages

log = logging.getLogger(__name__)

WAIT_SECONDS = 150.0  # Spark ends an idle worker after 60 s, and looks for one every 10 s
BAD_SECONDS = 3600.0
BAD = "marked bad for an hour"
FREE_BYTES = 2 << 30  # a GPU with less free memory, or with less than half, is not taken
FOREIGN_BYTES = 1 << 30  # a GPU that was not assigned to us is taken when less is in use there
PROBE_BYTES = 256 << 20

# What a CUDA error says when others use the GPU, and when the program is at fault: no reason to
# leave the GPU alone for an hour.
IN_USE = ("out of memory", "busy or unavailable")
PROGRAM = (*IN_USE, "assert", "illegal", "misaligned", "invalid")

_HELD: dict[str, int] = {}  # descriptors of our locks: closed when the process ends, never before
_MARKED: set[str] = set()  # GPUs that this process has marked bad
_ASSIGNED: list[str] = []  # addresses of the GPUs that the cluster manager gave to the first task


def pick_device(device: str) -> str:
    """Return ``cuda`` or ``cpu`` for a configured device; raises ModelError when it is missing."""
    there = _torch().cuda.is_available()
    if device == "cuda" and not there:
        raise ModelError("device is cuda, but torch sees no CUDA device")
    return ("cuda" if there else "cpu") if device == "auto" else device


def assign_gpus(addresses: Sequence[str]) -> None:
    """Say which GPUs of this host Spark gave to the task: numbers as of nvidia-smi, or UUIDs.

    The first load of the process looks among them first. CUDA then numbers GPUs as nvidia-smi does.
    """
    _ASSIGNED[:] = addresses
    if addresses:
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def own_device(device: str) -> str:
    """Return ``cpu``, or the one GPU of this host that this process has locked, as ``cuda:N``.

    Spark gives tasks of one worker other addresses from task to task; the model stays where it
    is. Raises ModelError when no CUDA is there, TransientError when no GPU is free and sound.
    """
    return "cpu" if pick_device(device) == "cpu" else _own_gpu()


@functools.cache
def _own_gpu() -> str:
    cuda = _torch().cuda
    names = _lock_names()
    assigned = assigned_among(names)
    name = lock_one(
        assigned,
        lambda name: _probe(names[name], foreign=name not in assigned),
        spare=[name for name in names if name not in assigned],
    )
    cuda.set_device(names[name])  # what names no device makes its context here, not on GPU 0
    return f"cuda:{names[name]}"


def _lock_names() -> dict[str, int]:
    """Return torch's number of each GPU by its UUID; a GPU that does not tell it is left out."""
    cuda = _torch().cuda
    names = {}
    for number in range(cuda.device_count()):
        try:
            uuid = str(cuda.get_device_properties(number).uuid)
        except RuntimeError as error:
            log.warning("GPU %d is left out: %s", number, type(error).__name__)
            continue
        visible = _visible()[number : number + 1]
        # A slice of a GPU has a UUID of its own there, and perhaps its GPU's here.
        names[visible[0] if visible and visible[0].startswith("MIG-") else uuid] = number
    return names


def _visible() -> list[str]:
    return [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]


def assigned_among(names: Mapping[str, int]) -> list[str]:
    """Return those of CUDA's GPUs (number by UUID) that Spark assigned; all if it assigned none.

    CUDA_VISIBLE_DEVICES has the last word: where it shows no assigned GPU, all it shows are ours.
    """
    if not _ASSIGNED:
        return list(names)
    visible = _visible()
    assigned = [
        name
        for name, number in names.items()
        if {name, f"GPU-{name}", visible[number] if visible else str(number)} & set(_ASSIGNED)
    ]
    return list(names) if visible and not assigned else assigned


def _probe(number: int, *, foreign: bool) -> bool:
    """Tell whether a GPU has memory for a model, and allocate and compute there.

    `foreign`: it was not assigned to us, so it must be idle, too. Raises RuntimeError where the
    GPU is not sound.
    """
    torch = _torch()
    where = f"cuda:{number}"
    try:
        free, total = torch.cuda.mem_get_info(number)
        if free < min(FREE_BYTES, total // 2) or (foreign and total - free > FOREIGN_BYTES):
            return False
        block = torch.zeros(PROBE_BYTES, dtype=torch.uint8, device=where)
        ones = torch.ones(256, 256, device=where)
        if int(block.max()) != 0 or not bool((ones @ ones == 256).all()):
            raise RuntimeError("wrong result")
        del block, ones
        torch.cuda.empty_cache()
    except RuntimeError as error:
        if _says(error, IN_USE):
            return False
        raise
    return True


def lock_one(
    names: Sequence[str],
    probe: Callable[[str], bool] = lambda name: True,
    *,
    spare: Sequence[str] = (),
    wait_seconds: float = WAIT_SECONDS,
) -> str:
    """Lock one of the named GPUs of this host for the life of this process; return its name.

    One that is locked by another process, or that `probe` refuses, is asked for again each second.
    One where `probe` raises RuntimeError is marked bad, for all processes, and the next is taken.
    A `spare` one is taken when all the others are bad, or at the end of the wait.

    Raises TransientError when there is none after `wait_seconds`, or when all are bad.
    """
    until = time.monotonic() + wait_seconds
    while True:
        late = time.monotonic() >= until
        sound = [name for name in names if not _is_bad(name)]
        others = [name for name in spare if not _is_bad(name)]
        refused: Counter[str] = Counter()
        for name in _turned(sound) + (_turned(others) if late or not sound else []):
            if not (reason := _refusal(name, probe)):
                return name
            refused[reason] += 1
        if late or not sound + others:
            refused[BAD] = sum(map(_is_bad, [*names, *spare]))
            raise TransientError(_none_left(+refused))
        time.sleep(min(1.0, wait_seconds))


def mark_lost(error: BaseException) -> None:
    """Mark this process's GPU bad after the CUDA error that lost it; a program's fault marks none.

    The process still holds its lock, and the next one looks for the mark after locking.
    """
    if not _says(error, PROGRAM):
        for name in _HELD:
            _mark_bad(name, error)


def _says(error: BaseException, words: Sequence[str]) -> bool:
    """Look in the first line: the others are torch's advice, on asserts too, after any error."""
    first_line = str(error).partition("\n")[0]
    return any(word in first_line for word in words)


def _turned(names: list[str]) -> list[str]:
    """Begin elsewhere in each process: what ails the first GPU then stops few of them."""
    first = os.getpid() % max(1, len(names))
    return names[first:] + names[:first]


def _refusal(name: str, probe: Callable[[str], bool]) -> str:
    """Lock a GPU, and say why it cannot be had; empty when it is ours now."""
    try:
        descriptor = _open(_path(name, "lock"))
    except OSError as error:
        path = _path(name, "lock")
        return f"cannot be locked (make {path} writable for all: {type(error).__name__})"
    reason = "failed"
    try:
        reason = _refusal_when_locked(descriptor, name, probe)
    finally:
        if reason:
            os.close(descriptor)
    _HELD.update({} if reason else {name: descriptor})
    return reason


def _refusal_when_locked(descriptor: int, name: str, probe: Callable[[str], bool]) -> str:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held by another process"
    if _is_bad(name):  # marked since we looked, by the process that held it
        return BAD
    try:
        return "" if probe(name) else "in use or short of memory"
    except RuntimeError as error:
        if _MARKED:  # a lost context may spoil all CUDA of a process, so this one may be sound
            raise TransientError(
                "a second GPU fails in this process, which may be the first one's fault: the next"
                " process tries again"
            ) from None
        _mark_bad(name, error)
        return BAD


def _none_left(refused: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items()) or "none is there"
    again = (
        f"; {_path('UUID', 'bad')} is the mark: remove it to try again" if BAD in refused else ""
    )
    return (
        f"no GPU of this host is free: {reasons}{again}; run one task a GPU: spark.task.cpus ="
        " cores per GPU"
    )


def _path(name: str, kind: str) -> Path:
    return Path(tempfile.gettempdir()) / f"spanlake-{name}.{kind}"


def _open(path: Path) -> int:
    """Open a file that processes of all users share, or make it."""
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)  # O_CREAT fails on others' files in /tmp
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT, 0o666)
    os.fchmod(descriptor, 0o666)  # whatever the umask
    return descriptor


def _is_bad(name: str) -> bool:
    try:
        age = time.time() - _path(name, "bad").stat().st_mtime
    except OSError:
        return name in _MARKED
    return name in _MARKED or abs(age) < BAD_SECONDS


def _mark_bad(name: str, error: BaseException) -> None:
    """Have all processes leave a GPU alone for an hour, and this one for ever."""
    _MARKED.add(name)
    log.warning("GPU %s fails (%s) and is left alone for an hour", name, type(error).__name__)
    try:
        descriptor = _open(_path(name, "bad"))
        os.write(descriptor, time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime()).encode())
        os.utime(descriptor)
        os.close(descriptor)
    except OSError as problem:
        log.warning("%s: no mark (%s)", _path(name, "bad"), type(problem).__name__)


def used_millijoules(device: str) -> tuple[int | None, str]:
    """Return the energy that a GPU has used since its driver was loaded, and who says so.

    Where it is not known, the second value says why.
    """
    if not device.startswith("cuda"):
        return None, "not measured on a CPU"
    try:
        import pynvml  # type: ignore[import-not-found]

        pynvml.nvmlInit()
        number = int(device.split()[0].partition(":")[2] or 0)
        identifier = f"GPU-{_torch().cuda.get_device_properties(number).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(identifier)
        return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)), "NVML"
    except ImportError:
        return None, "nvidia-ml-py is not installed"
    except Exception as error:
        return None, f"NVML: {type(error).__name__}"


def gains_from_bf16(device: str) -> bool:
    """Tell whether bfloat16 is faster here: on CUDA of its generation, and on AMX processors."""
    if device.startswith("cuda"):
        return bool(_torch().cuda.is_bf16_supported(including_emulation=False))
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise missing_packages() from None
    return torch
