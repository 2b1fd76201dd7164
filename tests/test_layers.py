"""Import contracts, checked where it counts: in a fresh process."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("pyspark", "torch", "transformers", "pandas", "numpy", "pyarrow")


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "spanlake.scoring.metrics",
        "spanlake.corpora",
        "spanlake.text.sentences",
        "spanlake.config.extract",
        "spanlake.core.assemble",
        "spanlake.models.dictionary",
        "spanlake.models.loading",
        "spanlake.cli",
    ],
)
def test_light_modules_load_nothing_heavy(module):
    assert loaded_by(module) == set()


def test_the_driver_needs_no_torch_to_plan():
    assert "torch" not in loaded_by("spanlake.spark.extract")
