"""The GPUs that Spark assigns to a task reach the loading of its model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spanlake.models import devices
from spanlake.spark import infer


@pytest.mark.parametrize(
    ("resources", "assigned"),
    [({"gpu": SimpleNamespace(addresses=["2", "3"])}, ["2", "3"]), ({}, []), (None, [])],
)
def test_a_load_knows_the_gpus_of_its_task(resources, assigned, monkeypatch) -> None:
    context = None if resources is None else SimpleNamespace(resources=lambda: resources)
    monkeypatch.setattr(infer, "TaskContext", SimpleNamespace(get=lambda: context))
    monkeypatch.setattr(infer, "_CACHE", {})
    monkeypatch.setattr(devices, "_ASSIGNED", ["of an earlier load"])
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    infer.cached_extractor('{"kind": "dictionary"}')
    assert devices._ASSIGNED == assigned
