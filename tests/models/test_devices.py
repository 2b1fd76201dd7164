"""Locks, marks and the choice of a GPU, where there is neither a GPU nor torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from spanlake.core.types import Unit
from spanlake.errors import ModelError, TransientError
from spanlake.models import devices
from spanlake.models.safe_extract import extract_safely

LOST = "CUDA error: uncorrectable ECC error encountered"
HOLD = (
    "from spanlake.models.devices import lock_one;"
    "print(lock_one(['one', 'two'], wait_seconds=0), flush=True); input()"
)
LOSE = f"""
from spanlake.models import devices
from spanlake.models.safe_extract import extract_safely
from spanlake.core.types import Unit
class Broken:
    def extract(self, units):
        raise RuntimeError("{LOST}")
devices._turned = list
print(devices.lock_one(['one', 'two'], wait_seconds=0), flush=True)
try:
    extract_safely(Broken(), [Unit('text')])
except RuntimeError:
    pass
"""


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Locks of a folder, and a process that has none yet and begins with the first GPU."""
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices, "_turned", list)
    monkeypatch.setattr(devices, "_HELD", {})
    monkeypatch.setattr(devices, "_MARKED", set())
    monkeypatch.setattr(devices, "_ASSIGNED", [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    devices._own_gpu.cache_clear()
    yield
    devices._own_gpu.cache_clear()
    for descriptor in devices._HELD.values():
        os.close(descriptor)


def _start(program: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(folder), "PYTHONPATH": ":".join(sys.path)},
    )


def _lock(*names: str, **options: object) -> str:
    return devices.lock_one(names, **{"wait_seconds": 0, **options})  # type: ignore[arg-type]


def _failing(*bad: str, message: str = LOST) -> Callable[[str], bool]:
    def probe(name: str) -> bool:
        if name in bad:
            raise RuntimeError(message)
        return True

    return probe


def test_each_process_holds_a_gpu_of_its_own_until_it_ends(tmp_path: Path) -> None:
    workers = [_start(HOLD, tmp_path) for _ in range(2)]
    try:
        assert sorted(worker.stdout.readline().strip() for worker in workers) == ["one", "two"]
        with pytest.raises(TransientError, match=r"free: 2 held by another process; run one task"):
            _lock("one", "two")
    finally:
        for worker in workers:
            worker.communicate("\n", timeout=30)
    assert _lock("one", "two") == "one"


def test_the_gpu_of_a_killed_process_is_free_within_the_wait(tmp_path: Path) -> None:
    holder = _start(HOLD, tmp_path)
    held = holder.stdout.readline().strip()
    with pytest.raises(TransientError):
        _lock(held)
    waited = []

    def end(seconds: float) -> None:
        waited.append(seconds)
        holder.kill()
        holder.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices.time, "sleep", end)
        assert _lock(held, wait_seconds=30) == held
    assert waited == [1.0]


def test_the_wait_outlasts_the_idle_workers_of_spark() -> None:
    assert devices.WAIT_SECONDS == 150


def test_the_next_process_takes_another_gpu_than_the_one_that_was_lost(tmp_path: Path) -> None:
    worker = _start(LOSE, tmp_path)
    assert worker.communicate(timeout=30)[0].split() == ["one"]
    assert _lock("one", "two") == "two"


def test_a_gpu_that_fails_its_probe_is_left_by_all_for_an_hour(tmp_path: Path) -> None:
    assert _lock("one", "two", probe=_failing("one")) == "two"
    mark = tmp_path / "spanlake-one.bad"
    assert time.strptime(mark.read_text(), "%Y-%m-%dT%H:%M:%SZ\n")
    devices._MARKED.clear()  # as another process has it
    with pytest.raises(TransientError, match=r"1 marked bad for an hour; .*spanlake-UUID\.bad"):
        _lock("one", wait_seconds=60)  # at once: no wait mends a GPU
    old = time.time() - devices.BAD_SECONDS - 1
    os.utime(mark, (old, old))
    assert _lock("one") == "one"


def test_a_gpu_marked_again_is_left_for_another_hour(tmp_path: Path) -> None:
    mark = tmp_path / "spanlake-one.bad"
    mark.write_text("2020-01-01T00:00:00Z\n")
    os.utime(mark, (0, 0))
    assert _lock("one", "two", probe=_failing("one")) == "two"
    assert time.time() - mark.stat().st_mtime < 60
    assert not mark.read_text().startswith("2020")


def test_the_second_failure_of_a_process_marks_nothing(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="a second GPU fails in this process"):
        _lock("one", "two", probe=_failing("one", "two"))
    assert [path.name for path in tmp_path.glob("*.bad")] == ["spanlake-one.bad"]
    devices._MARKED.clear()
    assert _lock("one", "two") == "two"


def test_a_gpu_marked_between_the_look_and_the_lock_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([False, False, True, False])  # one, two; one when locked, two when locked
    monkeypatch.setattr(devices, "_is_bad", lambda name: next(answers))
    assert _lock("one", "two") == "two"


def test_a_gpu_without_memory_is_asked_again_and_not_marked(tmp_path: Path) -> None:
    answers = iter([False, True])
    assert _lock("one", probe=lambda name: next(answers), wait_seconds=0.2) == "one"
    with pytest.raises(TransientError, match="1 in use or short of memory"):
        _lock("two", probe=lambda name: False)
    assert not list(tmp_path.glob("*.bad"))
    assert _lock("two") == "two"  # the lock was let go


def test_a_probe_with_another_fault_lets_the_lock_go() -> None:
    def probe(name: str) -> bool:
        raise ModelError("no torch")

    with pytest.raises(ModelError):
        _lock("one", probe=probe)
    assert _lock("one") == "one"


def test_spare_gpus_are_taken_where_all_others_are_bad_or_at_last(tmp_path: Path) -> None:
    holder = _start(HOLD.replace(", 'two'", ""), tmp_path)
    try:
        assert holder.stdout.readline().strip() == "one"
        assert _lock("one", spare=["two"]) == "two"
    finally:
        holder.communicate("\n", timeout=30)
    assert _lock("three", spare=["four"], probe=_failing("three"), wait_seconds=60) == "four"


def test_processes_begin_with_different_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(devices.os, "getpid", lambda: 7)
    assert devices._turned(["a", "b", "c"]) == ["b", "c", "a"]
    assert devices._turned([]) == []


def test_users_share_lock_files_whatever_their_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        _lock("one", "two", probe=_failing("one"))
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    names = ("spanlake-one.lock", "spanlake-one.bad", "spanlake-two.lock")
    assert modes == dict.fromkeys(names, "0o666")


def test_a_lock_file_that_cannot_be_opened_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> int:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(devices, "_open", refuse)
    named = r"1 cannot be locked \(make \S+/spanlake-one.lock writable for all: PermissionError\)"
    with pytest.raises(TransientError, match=named):
        _lock("one")


ADVICE = "\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"


class Stub:
    def __init__(self, message: str) -> None:
        self.message = message

    def extract(self, units: list[Unit]) -> None:
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    ("message", "marks"),
    [
        (LOST, True),
        ("CUDA error: unspecified launch failure", True),
        ("CUDA error: device-side assert triggered", False),
        ("CUDA error: an illegal memory access was encountered", False),
        ("CUDA error: out of memory", False),
    ],
)
def test_a_fault_of_the_program_does_not_cost_the_host_its_gpu(
    message: str, marks: bool, tmp_path: Path
) -> None:
    _lock("one")
    with pytest.raises(RuntimeError):
        extract_safely(Stub(message + ADVICE), [Unit("text")])  # type: ignore[arg-type]
    assert bool(list(tmp_path.glob("*.bad"))) == marks


def test_a_gpu_that_is_lost_after_another_failed_its_probe_is_marked(tmp_path: Path) -> None:
    assert _lock("one", "two", probe=_failing("one")) == "two"
    with pytest.raises(RuntimeError, match="ECC"):
        extract_safely(Stub(LOST), [Unit("text")])  # type: ignore[arg-type]
    names = {path.name for path in tmp_path.glob("*.bad")}
    assert names == {"spanlake-one.bad", "spanlake-two.bad"}


def test_a_process_without_a_gpu_marks_none(tmp_path: Path) -> None:
    devices.mark_lost(RuntimeError(LOST))
    assert not list(tmp_path.iterdir())


NAMES = {"aa": 0, "bb": 1, "cc": 2}


@pytest.mark.parametrize(
    ("addresses", "visible", "ours"),
    [
        ([], "", ["aa", "bb", "cc"]),
        (["1"], "", ["bb"]),
        (["2", "0"], "", ["aa", "cc"]),
        (["GPU-cc"], "", ["cc"]),
        (["9"], "", []),
        (["5"], "4,5,6", ["bb"]),
        (["GPU-bb"], "GPU-aa,GPU-bb,GPU-cc", ["bb"]),
        (["0"], "4, 5, 6", ["aa", "bb", "cc"]),  # a plugin's numbers: what it shows is ours
    ],
)
def test_gpus_that_spark_assigned(
    addresses: list[str], visible: str, ours: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices.assign_gpus(addresses)
    assert devices.assigned_among(NAMES) == ours


def test_assigned_numbers_are_those_of_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER")
    devices.assign_gpus([])
    assert "CUDA_DEVICE_ORDER" not in os.environ
    devices.assign_gpus(["0"])
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    devices.assign_gpus(["0"])
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


class Cuda:
    """What is asked of torch.cuda; `gone` GPUs do not tell their UUID."""

    def __init__(self, count: int, *, gone: tuple[int, ...] = (), free: int = 30 << 30) -> None:
        self.count, self.gone, self.free = count, gone, free
        self.current: list[int] = []

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return self.count

    def get_device_properties(self, number: int) -> SimpleNamespace:
        if number in self.gone:
            raise RuntimeError("CUDA error: unknown error")
        return SimpleNamespace(uuid=f"uuid-{number}")

    def set_device(self, number: int) -> None:
        self.current.append(number)

    def mem_get_info(self, number: int) -> tuple[int, int]:
        return self.free, 32 << 30


def _with(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    monkeypatch.setattr(devices, "_torch", lambda: SimpleNamespace(cuda=cuda))
    return cuda


def test_a_process_computes_on_one_gpu_however_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = _with(Cuda(3, gone=(0,)), monkeypatch)
    monkeypatch.setattr(devices, "_probe", lambda number, foreign: True)
    devices.assign_gpus(["2"])
    assert [devices.own_device(name) for name in ("auto", "cuda")] == ["cuda:2", "cuda:2"]
    assert cuda.current == [2]
    assert list(devices._HELD) == ["uuid-2"]


def test_a_gpu_that_spark_did_not_assign_is_probed_as_a_foreign_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _with(Cuda(2), monkeypatch)
    asked = []

    def probe(number: int, *, foreign: bool) -> bool:
        asked.append((number, foreign))
        if number == 1:
            raise RuntimeError(LOST)
        return True

    monkeypatch.setattr(devices, "_probe", probe)
    devices.assign_gpus(["1"])
    assert devices.own_device("cuda") == "cuda:0"
    assert asked == [(1, False), (0, True)]


def test_a_slice_is_locked_by_the_uuid_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _with(Cuda(1), monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-5")
    assert devices._lock_names() == {"MIG-5": 0}


def test_a_gpu_short_of_memory_or_used_by_others_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _with(Cuda(1, free=1 << 30), monkeypatch)
    assert devices._probe(0, foreign=False) is False
    _with(Cuda(1, free=20 << 30), monkeypatch)
    assert devices._probe(0, foreign=True) is False


@pytest.mark.parametrize(
    "words", ["out of memory", "all CUDA-capable devices are busy or unavailable"]
)
def test_a_gpu_that_others_use_is_no_bad_one(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = _with(Cuda(1), monkeypatch)

    def fail(number: int) -> tuple[int, int]:
        raise RuntimeError(f"CUDA error: {words}")

    monkeypatch.setattr(cuda, "mem_get_info", fail)
    assert devices._probe(0, foreign=False) is False


@pytest.mark.gpu
def test_a_sound_gpu_passes_its_probe() -> None:
    torch = pytest.importorskip("torch", reason="needs the infer extra")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    name = devices.own_device("cuda")
    assert f"cuda:{torch.cuda.current_device()}" == name
    assert len(devices._HELD) == 1


@pytest.mark.model
def test_without_cuda_the_device_is_the_cpu() -> None:
    torch = pytest.importorskip("torch", reason="needs the infer extra")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert devices.own_device("auto") == "cpu"
    with pytest.raises(ModelError, match="sees no CUDA device"):
        devices.own_device("cuda")
