from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gold_notes import gold_note
from spanlake.cli import main
from spanlake.core.corpora import ReadReport, read_brat, write_jsonl
from spanlake.core.counts import Counts
from spanlake.core.errors import DataError
from spanlake.core.labels import load_labels
from spanlake.core.scoring import score_note
from spanlake.core.spans import Annotation
from spanlake.models.scoring import ScoredNote
from spanlake.report.evaluation import Evaluation
from spanlake.report.groups import all_groups, read_groups

KIWI = load_labels("kiwi")
TEXT = "HISTORY:\nMild cough and fever.\nPLAN:\nAspirin 81 mg.\nJANE ROE:\nNo rash."
GOLD = gold_note(
    "a",
    TEXT,
    ("cough", "problem"),
    ("fever", "problem"),
    ("Mild", "severity"),
    ("Aspirin", "drug"),
    ("rash", "problem"),
)


def scored(gold, predicted) -> ScoredNote:
    return ScoredNote(gold, predicted, score_note(gold.annotation, predicted, KIWI))


def evaluation(*notes: ScoredNote) -> Evaluation:
    return Evaluation(KIWI, notes, ReadReport())


FOUND = gold_note(
    "a", TEXT, ("cough", "problem"), ("Mild", "severity"), ("81 mg", "drug"), ("rash", "drug")
).annotation


def test_entities_are_counted_in_the_section_where_they_begin():
    sections = all_groups(evaluation(scored(GOLD, FOUND)))["section"]
    assert sections == {
        "history": {"entities": Counts(1, 0, 1), "modifiers": Counts(1, 0, 0)},
        "plan": {"entities": Counts(0, 1, 1), "modifiers": Counts()},
        "(other)": {"entities": Counts(0, 1, 1), "modifiers": Counts()},
    }
    assert next(iter(sections)) == "history"


def test_sections_add_up_to_the_whole():
    one = evaluation(scored(GOLD, FOUND), scored(GOLD, Annotation()))
    sections = all_groups(one)["section"].values()
    for name, layer in (("entities", one.scores.entities), ("modifiers", one.scores.modifiers)):
        assert sum((group[name] for group in sections), Counts()) == layer.micro.strict


def test_notes_are_grouped_by_type_only_where_they_have_one():
    typed = replace(GOLD, note=replace(GOLD.note, note_id="b", note_type="consult"))
    found = all_groups(evaluation(scored(GOLD, FOUND), scored(typed, Annotation())))
    assert found["note_type"]["consult"]["entities"] == Counts(0, 0, 4)
    assert found["note_type"]["(none)"]["entities"] == Counts(1, 2, 3)
    assert list(all_groups(evaluation(scored(GOLD, FOUND)))) == ["section"]


def test_every_note_needs_a_group_of_the_file():
    one = evaluation(scored(GOLD, FOUND))
    assert all_groups(one, {"a": "x"})["group"]["x"]["relations"] == Counts()
    with pytest.raises(DataError, match="1 notes have no group: a"):
        all_groups(one, {"b": "x"})


@pytest.mark.parametrize("content", ["note_id\tfold\na\t1\n", "note_id,group\na,1\n"])
def test_a_file_without_the_columns_is_refused(tmp_path, content):
    path = tmp_path / "groups.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="columns note_id and group"):
        read_groups(path)


def test_the_command_writes_groups_of_the_given_file(few_samples, tmp_path):
    names = sorted(path.stem for path in few_samples.glob("*.txt"))
    groups, out = tmp_path / "groups.tsv", tmp_path / "scores.json"
    rows = [f"{name}\t{'odd' if i % 2 else 'even'}\n" for i, name in enumerate(names)]
    groups.write_text("note_id\tgroup\n" + "".join(rows), encoding="utf-8")
    call = ["evaluate", "--gold", str(few_samples), "--predicted", str(few_samples)]
    assert main([*call, "--json", str(out), "--groups", str(groups)]) == 0
    scores = json.loads(out.read_text(encoding="utf-8"))
    assert list(scores["groups"]) == ["section", "group"]
    assert scores["groups"]["group"].keys() == {"odd", "even"}
    both = [group["entities"]["tp"] for group in scores["groups"]["group"].values()]
    assert sum(both) == scores["entities"]["strict"]["tp"] > max(both) > 0


def test_json_lines_are_gold_too_and_tell_the_type_of_a_note(few_samples, tmp_path):
    notes, _ = read_brat(few_samples, KIWI)
    typed = [replace(one, note=replace(one.note, note_type="report")) for one in notes]
    gold, out = tmp_path / "gold.jsonl", tmp_path / "scores.json"
    write_jsonl(gold, typed)
    call = ["evaluate", "--gold", str(gold), "--predicted", str(few_samples), "--json", str(out)]
    assert main(call) == 0
    scores = json.loads(out.read_text(encoding="utf-8"))
    assert scores["groups"]["note_type"]["report"]["entities"] == scores["entities"]["strict"]
    assert scores["entities"]["strict"]["f1"] == 1.0
