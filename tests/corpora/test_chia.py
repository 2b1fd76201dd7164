"""Chia, a brat folder in a zip archive, under its label set."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

from spanlake.core.labels import load_labels
from spanlake.corpora import read_brat


def test_chia_is_read_whole(corpora: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(corpora / "chia" / "chia_without_scope.zip") as archive:
        archive.extractall(tmp_path)
    labels = load_labels("chia")
    notes, report = read_brat(tmp_path / "chia_without_scope", labels)
    found = Counter(entity.label for gold in notes for entity in gold.annotation.entities)
    assert (len(notes), found.total()) == (2000, 39877)
    assert found["Condition"] == 12039
    assert found.keys() == set(labels.labels)
    assert not {"bad_line", "offsets_outside", "dangling_relation"} & report.counts.keys()
