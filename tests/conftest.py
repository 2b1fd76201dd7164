"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch at its import; tests run two by two
settings.register_profile("no_deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no_deadline")

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


@pytest.fixture
def few_samples(samples: Path, tmp_path: Path) -> Path:
    """Four short bundled notes with their gold: enough to drive a model through."""
    folder = tmp_path / "few"
    folder.mkdir()
    names = sorted(samples.glob("*.txt"), key=lambda path: path.stat().st_size)
    for path in names[:4]:
        for suffix in (".txt", ".ann"):
            (folder / path.name).with_suffix(suffix).write_bytes(
                path.with_suffix(suffix).read_bytes()
            )
    return folder


# Tables of a few rows: planning a query and forking `chmod` for each file cost more than the work.
LOCAL_FILES = "org.apache.hadoop.fs.RawLocalFileSystem"  # no checksum file beside each file
SMALL = {
    "spark.ui.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.hadoop.fs.file.impl": LOCAL_FILES,
    "spark.hadoop.fs.AbstractFileSystem.file.impl": "org.apache.hadoop.fs.local.RawLocalFs",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for the Spark session."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.spark)


@pytest.fixture(scope="session")
def spark():
    """One local session with real Delta; small data, so no web page and no compiled stages."""
    from spanlake.spark.session import get_session

    session = get_session("spanlake tests", SMALL)
    yield session
    session.stop()
