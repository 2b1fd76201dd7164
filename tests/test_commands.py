"""The commands of the README and the tutorial run as they are printed, in their order."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_models import tiny_base

__all__ = ["tiny_base"]

ROOT = Path(__file__).resolve().parent.parent
NOTES = ROOT / "lib" / "spanlake" / "samples" / "notes"
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
# commands that other checks run: the set-up, `make demo` itself, tests/smoke.sh (dist, --py-files)
ELSEWHERE = ("make ", ". .venv/bin/activate", "spark-submit --packages")

pytestmark = [pytest.mark.slow, pytest.mark.spark, pytest.mark.model]


def commands(page: str) -> list[str]:
    """Return the lines of a page's `bash` blocks, in order."""
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like the repository root, with a user's notes and no tables yet."""
    for name in ("conf", "jobs", "lib", "sql"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "my_notes").mkdir()
    ids = sorted(path.stem for path in NOTES.glob("*.txt"))
    for note_id in ids[:3]:
        text = (NOTES / f"{note_id}.txt").read_text(encoding="utf-8")
        (tmp_path / "my_notes" / f"{note_id}.txt").write_text(text, encoding="utf-8")
    with (tmp_path / "my_notes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["note_id", "note_text"])
        writer.writerows([i, (NOTES / f"{i}.txt").read_text(encoding="utf-8")] for i in ids[:3])
    folds = "".join(f"{note_id}\t{i % 2}\n" for i, note_id in enumerate(ids))
    (tmp_path / "my_folds.tsv").write_text("note_id\tfold\n" + folds, encoding="utf-8")
    return tmp_path


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_the_commands_of_a_page_run(page: str, checkout: Path, tiny_base: Path) -> None:
    lines = [line for line in commands(page) if not line.startswith(ELSEWHERE)]
    assert len(lines) >= 4
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    for line in lines:
        program, *arguments = shlex.split(line.replace("$ENCODER", str(tiny_base)))
        assert Path(program).name == "spanlake", line
        call = [sys.executable, "-m", "spanlake.cli", *arguments]
        run = subprocess.run(call, cwd=checkout, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"{line}\n{run.stderr[-2000:]}"
