from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gold_notes import gold_note
from spanlake import cli
from spanlake.cli import main
from spanlake.core.labels import load_labels
from spanlake.core.types import Annotation
from spanlake.corpora import ReadReport, read_brat, write_brat, write_jsonl
from spanlake.errors import DataError
from spanlake.scoring.counts import Counts, ManyCounts
from spanlake.scoring.evaluation import Evaluation
from spanlake.scoring.groups import all_groups, read_groups, read_strings
from spanlake.scoring.metrics import score_note
from spanlake.scoring.score_extractor import ScoredNote

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


TRAINED = gold_note(
    "t",
    "COUGH, 81\n mg of ASPIRIN, mild.",
    ("COUGH", "treatment"),
    ("81\n mg", "drug"),
    ("ASPIRIN", "drug"),
    ("mild", "problem"),
)


@pytest.fixture
def trained(tmp_path):
    folder = tmp_path / "trained"
    write_brat(folder, [TRAINED])
    return folder


def test_strings_are_seen_whatever_their_case_space_and_label_but_by_layer(trained, tmp_path):
    write_jsonl(tmp_path / "more.jsonl", [gold_note("u", "Rash.", ("Rash", "problem"))])
    seen, _ = read_strings([trained, tmp_path / "more.jsonl"], KIWI)
    found = all_groups(evaluation(scored(GOLD, FOUND)), seen=seen)["string"]
    assert found == {
        "seen": {
            "entities": Counts(1, 2, 2),
            "modifiers": Counts(),
            "entities_relaxed_many": ManyCounts(1, 1, 3, 3),
            "modifiers_relaxed_many": ManyCounts(),
        },
        "unseen": {
            "entities": Counts(0, 0, 1),
            "modifiers": Counts(1, 0, 0),
            "entities_relaxed_many": ManyCounts(0, 0, 0, 1),
            "modifiers_relaxed_many": ManyCounts(1, 1, 1, 1),
        },
    }


def test_each_side_of_an_overlap_counts_with_its_own_string():
    wider = gold_note("a", TEXT, ("Mild cough and fever", "problem")).annotation
    one = evaluation(scored(GOLD, wider))
    found = all_groups(one, seen={"main": {"cough"}, "modifier": set()})["string"]
    assert found["seen"]["entities_relaxed_many"] == ManyCounts(0, 1, 0, 1)
    assert found["unseen"]["entities_relaxed_many"] == ManyCounts(1, 1, 1, 3)


def test_strings_add_up_to_the_whole(trained):
    wider = gold_note("a", TEXT, ("Mild cough and fever", "problem")).annotation
    one = evaluation(*(scored(GOLD, other) for other in (FOUND, wider, Annotation())))
    strings = all_groups(one, seen=read_strings([trained], KIWI)[0])["string"].values()
    for name, layer in (("entities", one.scores.entities), ("modifiers", one.scores.modifiers)):
        assert sum((group[name] for group in strings), Counts()) == layer.micro.strict
        many = sum((group[f"{name}_relaxed_many"] for group in strings), ManyCounts())
        assert many == layer.micro.relaxed_many


def test_the_command_tells_strings_that_the_training_has_seen(trained, tmp_path, capsys):
    gold, out = tmp_path / "gold", tmp_path / "scores.json"
    write_brat(gold, [GOLD])
    call = ["evaluate", "--gold", str(gold), "--predicted", str(gold), "--json", str(out)]
    assert main([*call, "--seen", str(trained), str(gold)]) == 0
    assert json.loads(out.read_text())["groups"]["string"]["unseen"]["entities"]["tp"] == 0
    capsys.readouterr()
    assert main([*call, "--seen", str(trained)]) == 0
    printed = capsys.readouterr().out
    strings = json.loads(out.read_text())["groups"]["string"]
    assert [strings[group]["entities"]["tp"] for group in ("seen", "unseen")] == [2, 2]
    assert strings["unseen"]["modifiers_relaxed_many"]["recall"] == 1.0
    _, table = printed.split("entities by string")
    assert table.split()[:12] == "P R F1 relaxed R support seen 1.000 1.000 1.000 1.000 2".split()
    written = printed + out.read_text()
    assert not [e.text for e in GOLD.annotation.entities if e.text.casefold() in written.casefold()]


@pytest.mark.parametrize("option", ["--seen", "--groups"])
def test_what_is_not_there_is_named_before_anything_is_read(
    option, few_samples, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cli, "load_extractor", None)
    assert main(["evaluate", "--gold", str(few_samples), option, str(tmp_path / "none")]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_notes_without_a_group_are_named_before_anything_is_read(
    few_samples, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cli, "load_extractor", None)
    groups = tmp_path / "groups.tsv"
    groups.write_text("note_id\tgroup\nother\tx\n")
    assert main(["evaluate", "--gold", str(few_samples), "--groups", str(groups)]) == 1
    count = len(list(few_samples.glob("*.txt")))
    assert f"{count} notes have no group" in capsys.readouterr().err


def test_what_the_reader_leaves_out_of_a_training_folder_is_named(few_samples, trained, capsys):
    (trained / "t.ann").write_text("T1\tnonsense 0 5\tCOUGH\n", encoding="utf-8")
    call = ["evaluate", "--gold", str(few_samples), "--predicted", str(few_samples)]
    assert main([*call, "--seen", str(trained)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "--seen, t.ann:1: unknown_label"
    assert said[1].startswith("--seen, lines of annotation: 1 unknown_label (docs")


@pytest.mark.parametrize("option", ["--json", "--notes", "--errors"])
def test_a_folder_where_a_file_is_to_be_written_is_named_early(
    option, few_samples, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cli, "load_extractor", None)
    assert main(["evaluate", "--gold", str(few_samples), option, str(tmp_path)]) == 1
    assert f"{tmp_path}: a folder, where a file is to be written" in capsys.readouterr().err


def test_scores_say_what_they_are_of(few_samples, tmp_path):
    out = tmp_path / "scores.json"
    call = ["evaluate", "--gold", str(few_samples), "--json", str(out)]
    assert main([*call, "--predicted", str(few_samples)]) == 0
    folder = json.loads(out.read_text())["scored"]
    assert (folder["predicted"], folder["model"]) == (str(few_samples), None)
    assert main([*call, "--set", "extractor.kind=dictionary"]) == 0
    model = json.loads(out.read_text())["scored"]
    assert len(model.pop("model")) == 64
    assert model == {
        "gold": str(few_samples), "predicted": None, "labels": "kiwi", "spanlake": "0.1.0"
    }  # fmt: skip
