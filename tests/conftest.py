"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORPORA = ROOT.parent / "shared" / "corpora"


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The annotated corpora beside the checkout, which are not ours to ship."""
    if not CORPORA.is_dir():
        pytest.skip("needs the corpora in ../shared/corpora, which are not part of the repository")
    return CORPORA


@pytest.fixture(scope="session")
def samples() -> Path:
    """The bundled notes with their gold annotation."""
    return ROOT / "lib" / "spanlake" / "samples" / "notes"
