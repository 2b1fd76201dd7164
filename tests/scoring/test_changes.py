from __future__ import annotations

import json
from pathlib import Path

import pytest

from spanlake.cli import main
from spanlake.core.labels import load_labels
from spanlake.scoring.changes import CHANGES, Changed, Key, changes
from spanlake.scoring.evaluation import evaluate_folder

TEXT = "Fever, cough, rash and pain after aspirin. Walks the dog."
GOLD = ("problem 0 5", "problem 7 12", "problem 14 18", "problem 23 27", "drug 34 41")
OURS = ("problem 0 5", "problem 14 18", "drug 23 27", "treatment 34 41", "test 53 56")
THEIRS = ("problem 7 12", "problem 14 18", "drug 34 40", "drug 43 48")


def write(folder: Path, lines: tuple[str, ...]) -> Path:
    folder.mkdir()
    rows = []
    for i, line in enumerate(lines, start=1):
        _, start, end = line.split()
        rows.append(f"T{i}\t{line}\t{TEXT[int(start) : int(end)]}\n")
    (folder / "a.ann").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path, Path]:
    gold = write(tmp_path / "gold", GOLD)
    (gold / "a.txt").write_text(TEXT, encoding="utf-8")
    return gold, write(tmp_path / "ours", OURS), write(tmp_path / "theirs", THEIRS)


def test_what_was_won_lost_and_named_otherwise(folders):
    kiwi = load_labels("kiwi")
    gold, ours, theirs = folders
    found = changes(
        *(evaluate_folder(gold, folder, kiwi).notes for folder in (ours, theirs)), labels=kiwi
    )
    assert found == [
        Changed("won", Key("a", 0, 5, "problem"), "problem", None),
        Changed("lost", Key("a", 7, 12, "problem"), None, "problem"),
        Changed("relabelled", Key("a", 34, 41, "drug"), "treatment", "drug"),
        Changed("spurious went", Key("a", 43, 48, "drug"), None, "drug"),
        Changed("spurious came", Key("a", 53, 56, "test"), "test", None),
    ]


def test_the_command_prints_counts_and_writes_rows_without_text(folders, tmp_path, capsys):
    gold, ours, theirs = map(str, folders)
    out = tmp_path / "new" / "changes.jsonl"
    assert main(["compare", ours, theirs, "--gold", gold, "--to", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "main strict F1" in printed
    lines = [line.split() for line in printed.splitlines()]
    assert ["problem", "1", "1", "0", "0", "0"] in lines
    assert ["drug", "0", "0", "1", "0", "1"] in lines
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["change"] for row in rows] == [
        "won",
        "lost",
        "relabelled",
        "spurious went",
        "spurious came",
    ]
    assert set(CHANGES) == {row["change"] for row in rows}
    assert rows[0].keys() == {"change", "note_id", "start", "end", "label", "ours", "theirs"}
    assert "Fever" not in printed + out.read_text(encoding="utf-8")


def test_a_run_against_itself_has_no_changes(folders, tmp_path):
    gold, ours, _ = map(str, folders)
    out = tmp_path / "changes.jsonl"
    assert main(["compare", ours, ours, "--gold", gold, "--to", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == ""


def test_counts_by_note_cannot_say_which_entities_changed(tmp_path, capsys):
    assert main(["compare", "a.json", "b.json", "--to", str(tmp_path / "x")]) == 1
    assert "--to needs --gold" in capsys.readouterr().err
