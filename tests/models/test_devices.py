from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.model
pytest.importorskip("torch", reason="needs the infer extra")

from spanlake.core.errors import TransientError  # noqa: E402
from spanlake.models import devices  # noqa: E402

HOLD = (
    "from spanlake.models.devices import lock_one;"
    "print(lock_one(['one', 'two']), flush=True); input()"
)


def _hold(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(folder), "PYTHONPATH": ":".join(sys.path)},
    )


def test_each_process_holds_a_gpu_of_its_own_until_it_ends(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    workers = [_hold(tmp_path) for _ in range(2)]
    try:
        assert sorted(worker.stdout.readline().strip() for worker in workers) == ["0", "1"]
        with pytest.raises(TransientError, match="all 2 GPUs of this host"):
            devices.lock_one(["one", "two"], wait_seconds=0)
    finally:
        for worker in workers:
            worker.communicate("\n", timeout=30)
    assert devices.lock_one(["one", "two"], wait_seconds=0) == 0


def test_one_process_holds_one_gpu_however_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(devices, "pick_device", lambda device: "cuda")
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 1)
    one = type("Properties", (), {"uuid": "one"})
    monkeypatch.setattr(devices.torch.cuda, "get_device_properties", lambda i: one)
    monkeypatch.setattr(devices, "lock_one", lambda names: asked.append(names) or 0)
    devices._own_gpu.cache_clear()
    try:
        assert [devices.own_device(name) for name in ("auto", "cuda")] == ["cuda:0", "cuda:0"]
    finally:
        devices._own_gpu.cache_clear()
    assert asked == [["one"]]


def test_without_cuda_the_device_is_the_cpu() -> None:
    if devices.torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert devices.own_device("auto") == "cpu"
