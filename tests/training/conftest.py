"""Fixtures of the training tests: one tiny tagger, trained once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_training import tiny_config

from gold_notes import NOTES
from tiny_models import tiny_base, tiny_llama

__all__ = ["tiny_base", "tiny_llama"]

if any(find_spec(name) is None for name in ("accelerate", "openvino")):
    collect_ignore_glob = ["test_*.py"]  # the extras train and cpu are not installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as one that needs torch."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.model)


@pytest.fixture(scope="session")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder and the metrics of a tagger that has overfitted the gold notes; do not change."""
    from spanlake.training.tagger import train_tagger

    folder = tmp_path_factory.mktemp("trained") / "tagger"
    return folder, train_tagger(NOTES, NOTES, tiny_config(tiny_base, folder))


@pytest.fixture
def copied_tagger(trained: tuple[Path, Any], tmp_path: Path) -> Callable[..., Path]:
    """Copy the trained tagger without some of its files."""

    def copy(name: str = "copy", leave_out: tuple[str, ...] = ()) -> Path:
        shutil.copytree(trained[0], tmp_path / name, ignore=shutil.ignore_patterns(*leave_out))
        return tmp_path / name

    return copy
