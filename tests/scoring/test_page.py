from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from spanlake.cli import main
from spanlake.core.labels import load_labels
from spanlake.corpora import read_brat
from spanlake.models.loading import bundled
from spanlake.scoring.bootstrap import Interval
from spanlake.scoring.counts import Counts
from spanlake.scoring.metrics import no_scores
from spanlake.scoring.page import page

VOID = {"meta", "rect", "br"}


class Reader(HTMLParser):
    """Collects tables by their headings, and every tag with its attributes; tags must balance."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.title = ""
        self.said: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.tables.setdefault(self.title, []).append([])
        if tag in ("td", "th"):
            self.tables[self.title][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.title = data
        if self.open and self.open[-1] == "p":
            self.said.append(data.strip())
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[self.title][-1][-1] += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture
def written(few_samples, tmp_path) -> Reader:
    out = tmp_path / "new" / "scores.html"
    call = ["evaluate", "--gold", str(few_samples), "--predicted", str(few_samples)]
    assert main([*call, "--html", str(out)]) == 0
    return read(out.read_text(encoding="utf-8"))


def test_the_page_has_every_table(written):
    assert list(written.tables) == [
        "Scores",
        "Main entities by label",
        "Main entities by number of words",
        "Modifiers by label",
        "Modifiers by number of words",
        "Relations",
        "Assertions",
        "Entities by section",
        "Modifiers by section",
    ]
    assert written.tables["Main entities by label"][1] == [
        "all",
        "100.0",
        "100.0",
        "100.0",
        "104",
        "",
    ]
    names = [row[0] for row in written.tables["Relations"]]
    assert names[1:3] == ["on gold entities, nearest head", "on gold entities, nearest head, lists"]


def test_the_page_says_what_was_scored(written, few_samples):
    assert f"gold: {few_samples}" in written.said
    assert "labels: kiwi" in written.said
    assert not any("model" in line for line in written.said)  # a folder's own


def test_the_page_says_what_the_model_has_learnt(few_samples, tmp_path):
    pytest.importorskip("openvino", reason="needs the cpu extra")
    out = tmp_path / "scores.html"
    note = read_brat(few_samples)[0][0].note
    manifest = json.loads((bundled() / "spanlake.json").read_text())
    manifest["training"]["training_text_hashes"].append(note.text_sha256)
    shutil.copytree(bundled(), tmp_path / "small")
    (tmp_path / "small" / "spanlake.json").write_text(json.dumps(manifest))
    call = ["evaluate", "--gold", str(few_samples), "--set", f"extractor.model={tmp_path}/small"]
    assert main([*call, "--html", str(out)]) == 0
    assert "Of these notes, the model was trained on 1." in read(out.read_text("utf-8")).said


def test_the_page_loads_nothing(written):
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in written.tags}
    loading = {"src", "href", "xlink:href", "srcset", "onload"}
    assert not any(loading & attributes.keys() for _, attributes in written.tags)


def test_values_with_their_intervals_are_drawn():
    found = {"main strict F1": Interval(0.5, 0.25, 0.75), "modifiers": Interval(None, None, None)}
    labels = load_labels("kiwi")
    reader = read(page(no_scores(labels), found, {}, {}, {}, {}, []))
    assert reader.tables["Scores"][1:] == [
        ["main strict F1", "50.0", "25.0 to 75.0", ""],
        ["modifiers", "-", "-", ""],
    ]
    drawn = [(a.get("x"), a["width"]) for tag, a in reader.tags if tag == "rect"]
    assert drawn == [(None, "100"), (None, "50.0"), ("25.0", "50.0"), (None, "100")]


def test_names_of_groups_are_escaped():
    groups = {"group": {"<b>&": {"entities": Counts(1, 0, 0)}}}
    reader = read(page(no_scores(load_labels("kiwi")), {}, groups, {}, {}, {}, ["gold: <b>&"]))
    assert "gold: <b>&" in reader.said
    assert reader.tables["Entities by group"][1][0] == "<b>&"
    assert "b" not in {tag for tag, _ in reader.tags}


def test_probabilities_are_drawn_where_a_model_tells_them():
    told = {"main spans": (np.array([0.9, 0.8]), np.array([True, False]))}
    scores = no_scores(load_labels("kiwi"))
    with_figure, without = (read(page(scores, {}, {}, {}, {}, one, [])) for one in (told, {}))
    assert len([tag for tag, _ in with_figure.tags if tag == "circle"]) == 2
    assert "circle" not in {tag for tag, _ in without.tags}
