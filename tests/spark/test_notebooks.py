"""Notebooks run from top to bottom on real tables, and are stored without their outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from spanlake.spark.extract import extract
from spanlake.spark.ingest import ingest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    assert cells
    assert all(not c.outputs and c.execution_count is None for c in cells)


@pytest.mark.slow  # two minutes: starts a kernel with a Spark of its own
def test_first_look_runs_on_the_tables(tables, source, config, monkeypatch):
    ingest(tables, source({"a": "No fever. Takes aspirin 81 mg daily.", "b": "Headache."}))
    extract(tables, config())
    monkeypatch.setenv("SPANLAKE_TABLES", tables.config.location)
    notebook = nbformat.read(ROOT / "notebooks" / "01_first_look.ipynb", as_version=4)
    resources = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    kinds = [kind for o in outputs for kind in o.get("data", {})]
    assert kinds.count("image/png") == 2
    assert kinds.count("text/html") == 5
