"""Fixtures of the tests of studies."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tiny_models import tiny_base

__all__ = ["tiny_base"]

if any(find_spec(name) is None for name in ("accelerate", "openvino", "matplotlib")):
    collect_ignore_glob = ["test_*.py"]  # the extras train, cpu and notebook are not installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as one that needs torch."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.model)
