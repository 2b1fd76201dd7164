"""The command line as a user calls it."""

from __future__ import annotations

import json
import re

import pytest

from spanlake.cli import conclusion, main
from spanlake.config.extractors import extractor_config
from spanlake.core.labels import load_labels
from spanlake.core.types import Note
from spanlake.corpora import read_ann
from spanlake.models import load_extractor
from spanlake.predict import annotate

SIX = {"precision", "recall", "f1", "tp", "fp", "fn"}
TEXT = "No fever\r\nor chills.\tTakes aspirin 81 mg daily. \U0001f600 Left knee pain.\n"


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_bytes(TEXT.encode())
    (folder / "empty.txt").write_bytes(b"")
    return folder


def test_annotate_writes_what_the_library_finds(notes, tmp_path):
    assert main(["annotate", str(notes), "--to", str(tmp_path / "out")]) == 0
    labels = load_labels("kiwi")
    expected = annotate([Note("a", TEXT)], load_extractor(extractor_config()), "")[0].annotation
    written, report = read_ann(tmp_path / "out" / "a.ann", Note("a", TEXT), labels)
    assert expected.entities and not report.problems
    assert {e.key for e in written.annotation.entities} == {e.key for e in expected.entities}
    assert len(written.annotation.relations) == len(expected.relations)
    assert (tmp_path / "out" / "empty.ann").read_bytes() == b""


def test_annotate_lists_failed_notes_and_writes_the_others(notes, tmp_path, capsys):
    (notes / "latin.txt").write_bytes("caf\u00e9".encode("cp1252"))
    assert main(["annotate", str(notes), "--to", str(tmp_path / "out")]) == 1
    assert "failed: latin (UnicodeDecodeError)" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.ann", "empty.ann"]


def test_annotate_of_a_folder_without_notes_says_so(tmp_path, capsys):
    assert main(["annotate", str(tmp_path), "--to", str(tmp_path / "out")]) == 1
    assert "no .txt files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "holding"),
    [
        (["annotate", "none", "--to", "out"], "notes (.txt)"),
        (["evaluate", "--gold", "none"], "annotated notes (.txt and .ann)"),
        (["evaluate", "--gold", ".", "--predicted", "none"], "predictions (.ann)"),
    ],
)
def test_a_missing_folder_is_named_with_what_it_should_hold(
    call, holding, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(call) == 1
    error = f"DataError: none: no such folder; give the one that holds the {holding}\n"
    assert capsys.readouterr().err == error


def test_what_annotate_does_not_read_is_counted(notes, tmp_path, caplog):
    (notes / "b.TXT").write_bytes(b"No fever.")
    (notes / "c.md").write_bytes(b"Fever.")
    (notes / "more").mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / "gone.ann").write_bytes(b"")
    assert main(["annotate", str(notes), "--to", str(out)]) == 0
    assert "problem" in (out / "b.ann").read_text(encoding="utf-8")
    assert f"not read in {notes}: 1 sub-folders, 1 .md files" in caplog.messages
    assert f"{out} holds 1 .ann files of no note, left there: gone\n" in caplog.text


def test_annotate_reads_another_encoding(tmp_path):
    (tmp_path / "a.txt").write_bytes("Caf\u00e9 \u2013 fever.".encode("cp1252"))
    call = ["annotate", str(tmp_path), "--to", str(tmp_path / "out"), "--encoding", "windows-1252"]
    assert main(call) == 0
    assert "7 12\tfever" in (tmp_path / "out" / "a.ann").read_text(encoding="utf-8")


def test_an_unknown_encoding_is_refused(notes, tmp_path, capsys):
    call = ["annotate", str(notes), "--to", str(tmp_path / "out"), "--encoding", "utf-9"]
    assert main(call) == 1
    assert "ConfigError: no encoding is called 'utf-9'" in capsys.readouterr().err


def test_two_files_of_one_name_are_refused(notes, tmp_path, capsys):
    (notes / "a.TXT").write_bytes(b"No fever.")
    assert main(["annotate", str(notes), "--to", str(tmp_path / "out")]) == 1
    assert "differ in .txt and .TXT only: a. Rename one" in capsys.readouterr().err


def test_an_out_folder_that_is_a_file_is_refused(notes, capsys):
    assert main(["annotate", str(notes), "--to", str(notes / "a.txt")]) == 1
    assert "a.txt: cannot be made (FileExistsError)" in capsys.readouterr().err


def test_annotate_never_prints_note_text(notes, tmp_path, capsys):
    main(["annotate", str(notes), "--to", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert "aspirin" not in printed.out + printed.err


def test_gold_scored_against_itself_is_perfect(samples, tmp_path):
    out = tmp_path / "scores.json"
    call = ["evaluate", "--gold", str(samples), "--predicted", str(samples), "--json", str(out)]
    assert main(call) == 0
    scores = json.loads(out.read_text(encoding="utf-8"))
    for layer in ("entities", "modifiers"):
        assert set(scores[layer]) == {"strict", "relaxed", "relaxed_many", "labels", "lengths"}
        assert set(scores[layer]["strict"]) == SIX
        assert scores[layer]["strict"]["f1"] == 1.0
    assert scores["relations"]["strict"]["f1"] == 1.0
    assert scores["relations"]["gold_entities"] is None


def test_the_counts_of_two_evaluations_can_be_compared(samples, tmp_path, capsys):
    notes = tmp_path / "notes.json"
    call = ["evaluate", "--gold", str(samples), "--predicted", str(samples), "--notes", str(notes)]
    assert main(call) == 0
    assert "main strict F1                 100.0  [100.0, 100.0]" in capsys.readouterr().out
    assert set(json.loads(notes.read_text())) == {path.stem for path in samples.glob("*.txt")}
    assert main(["compare", str(notes), str(notes)]) == 0
    assert "main strict F1                  +0.0  [+0.0, +0.0]" in capsys.readouterr().out


def test_the_default_model_is_scored_with_all_that_it_tells(few_samples, tmp_path, capsys):
    out = tmp_path / "scores.json"
    assert main(["evaluate", "--gold", str(few_samples), "--json", str(out)]) == 0
    kinds = ["main spans", "modifier spans", "relations", "sentences"]
    assert list(json.loads(out.read_text())["reliability"]) == kinds
    printed = capsys.readouterr().out
    assert all(f"\n{kind} " in printed for kind in kinds)
    scores = json.loads(out.read_text(encoding="utf-8"))
    assert 0 < scores["entities"]["strict"]["f1"] < 1
    assert set(scores["relations"]["gold_entities"]) == SIX
    assert set(scores["relations"]["baselines"]) == {"nearest head", "nearest head, lists"}


def test_a_missing_prediction_file_is_an_error_with_its_id(samples, tmp_path, capsys):
    assert main(["evaluate", "--gold", str(samples), "--predicted", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "30 of 30 notes have no prediction file" in error and "01_discharge_copd" in error


def test_predicted_and_config_exclude_each_other(samples, tmp_path, capsys):
    call = ["evaluate", "--gold", str(samples), "--predicted", str(samples), "--config", "x"]
    assert main(call) == 1
    assert "not both" in capsys.readouterr().err


def test_a_configuration_of_another_job_is_refused(samples, capsys):
    assert main(["evaluate", "--gold", str(samples), "--config", "conf/train_bert.yml"]) == 1
    assert "unknown key" in capsys.readouterr().err


def test_predicted_entities_that_cannot_be_read_are_counted_beside_the_scores(tmp_path, capsys):
    right = "T1\tproblem 0 10\tChest pain\n"
    bad = "T2\tdisease 15 20\tfever\nT3\tproblem 50 60\tx\nno line\n"
    for name, ann in (("gold", right + "T9\tsign 15 20\tfever\n"), ("predicted", right + bad)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("Chest pain and fever.\n")
        (tmp_path / name / "a.ann").write_text(ann)
    out = tmp_path / "s.json"
    folders = ["--gold", str(tmp_path / "gold"), "--predicted", str(tmp_path / "predicted")]
    assert main(["evaluate", *folders, "--json", str(out)]) == 0
    told = "cost no precision here: 1 bad_line, 1 offsets_outside, 1 unknown_label."
    assert told in capsys.readouterr().out
    scores = json.loads(out.read_text())
    reasons = {"bad_line": 1, "offsets_outside": 1, "unknown_label": 1}
    assert scores["unread_predictions"] == reasons
    assert scores["gold_problems"] == {"unknown_label": 1}


def test_refused_relations_of_a_prediction_count_as_wrong(tmp_path):
    gold, predicted = tmp_path / "gold", tmp_path / "predicted"
    lines = "T1\tproblem 3 8\tfever\nT2\tnegation 0 2\tNo\nR1\thasAttr Arg1:T1 Arg2:T2\n"
    for folder, more in ((gold, ""), (predicted, "R2\thasAttr Arg1:T1 Arg2:T1\n")):
        folder.mkdir()
        (folder / "a.ann").write_text(lines + more, encoding="utf-8")
    (gold / "a.txt").write_text("No fever.", encoding="utf-8")
    out = tmp_path / "new" / "scores.json"
    call = ["evaluate", "--gold", str(gold), "--predicted", str(predicted), "--json", str(out)]
    assert main(call) == 0
    strict = json.loads(out.read_text(encoding="utf-8"))["relations"]["strict"]
    assert (strict["tp"], strict["fp"], strict["fn"]) == (1, 1, 0)


def _folder_of(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content.encode("utf-8"))
    return str(folder)


def test_relations_of_which_the_label_set_allows_the_other_direction_are_right(tmp_path, capsys):
    labels = load_labels("kiwi").model_dump(mode="json")
    labels |= {"aliases": {"Dose": "strength"}, "relation_aliases": {"Dose-Drug": "hasAttr"}}
    (tmp_path / "mine.yml").write_text(json.dumps(labels), encoding="utf-8")
    text = "Took senna 15 mg."
    turned = "T1\tDose 11 16\t15 mg\nT2\tdrug 5 10\tsenna\nR1\tDose-Drug Arg1:T1 Arg2:T2\n"
    straight = "T1\tdrug 5 10\tsenna\nT2\tDose 11 16\t15 mg\nR1\thasAttr Arg1:T1 Arg2:T2\n"
    for number, (gold, predicted) in enumerate([(turned, straight), (straight, turned)]):
        gold = _folder_of(tmp_path / f"gold{number}", a_txt=text, a_ann=gold)
        predicted = _folder_of(tmp_path / f"predicted{number}", a_ann=predicted)
        out = tmp_path / f"{number}.json"
        call = ["evaluate", "--gold", gold, "--predicted", predicted, "--json", str(out)]
        assert main([*call, "--set", f"extractor.labels={tmp_path / 'mine.yml'}"]) == 0
        found = json.loads(out.read_text(encoding="utf-8"))
        assert found["relations"]["strict"]["f1"] == 1.0
        assert not found["gold_problems"]
    assert "not_allowed" not in capsys.readouterr().err


def test_what_is_left_out_is_said_to_be_the_gold_s_or_the_prediction_s(tmp_path, capsys):
    lines = "T1\tproblem 3 8\tfever\nT2\tnegation 0 2\tNo\nR1\thasAttr Arg1:T1 Arg2:T1\n"
    gold = _folder_of(tmp_path / "gold", a_txt="No fever.", a_ann=lines)
    predicted = _folder_of(tmp_path / "predicted", a_ann=lines + "x\n")
    assert main(["evaluate", "--gold", gold, "--predicted", predicted]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "gold, a.ann:3: relation_not_allowed",
        "gold, lines of annotation: 1 relation_not_allowed (docs/evaluation.md)",
        f"prediction, {predicted}/a.ann:4: bad_line",
        f"prediction, {predicted}/a.ann:3: relation_not_allowed",
        "prediction, lines of annotation: 1 bad_line, 1 relation_not_allowed (docs/evaluation.md)",
    ]


def test_texts_in_upper_case_and_another_encoding_are_scored(tmp_path):
    gold = tmp_path / "gold"
    ann = "T1\tproblem 6 11\tfever\n"
    predicted = _folder_of(tmp_path / "predicted", a_ann=ann)
    _folder_of(gold, a_ann=ann)
    (gold / "a.TXT").write_bytes("Caf\u00e9: fever".encode("cp1252"))
    out = tmp_path / "scores.json"
    call = ["evaluate", "--gold", str(gold), "--predicted", predicted, "--json", str(out)]
    assert main([*call, "--encoding", "cp1252"]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["entities"]["strict"]["f1"] == 1.0


def test_a_byte_order_mark_counts_as_brat_counts_it(tmp_path):
    text = "\ufeffSevere fever.\r\nChest\r\npain."
    notes = _folder_of(tmp_path / "notes", a_txt=text)
    for encoding in ("utf-8", "utf-8-sig"):
        out = tmp_path / encoding
        assert main(["annotate", notes, "--to", str(out), "--encoding", encoding]) == 0
        written, report = read_ann(out / "a.ann", Note("a", text))
        assert "fever" in {entity.text.split()[-1] for entity in written.annotation.entities}
        assert not report.problems


def test_lone_surrogates_and_files_that_are_gone_cost_no_other_note(notes, tmp_path, capsys):
    (notes / "bad.txt").write_bytes(b"Fever +2AA-.")
    (notes / "gone.txt").symlink_to(tmp_path / "nowhere")
    out = tmp_path / "out"
    (out / "empty.ann").mkdir(parents=True)
    (notes / "a.txt").write_bytes(b"No fever.")
    assert main(["annotate", str(notes), "--to", str(out), "--encoding", "utf-7"]) == 1
    told = capsys.readouterr().err
    assert "failed: bad (UnicodeEncodeError): a lone surrogate, which is no character" in told
    assert "failed: gone (FileNotFoundError)\n" in told
    assert "failed: empty (IsADirectoryError)\n" in told
    assert "fever" in (out / "a.ann").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_one_line(samples, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    call = ["evaluate", "--gold", str(samples), "--predicted", str(samples), "--json"]
    assert main([*call, str(tmp_path / "file" / "scores.json")]) == 1
    assert f"{tmp_path / 'file'}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", [[], ["extract"], ["evaluate"]])
def test_a_help_text_keeps_its_line_breaks_and_names_keys(command, capsys):
    with pytest.raises(SystemExit):
        main([*command, "-h"])
    told = capsys.readouterr().out
    name = command[0] if command else "evaluate"
    assert re.search(rf"^  spanlake {name} .+$", told, re.MULTILINE)
    if command:
        assert "conf/extract_*.yml" in told and "docs/configuration.md" in told
        assert re.search(r"\bextractor\.entity_threshold\b", told)


def test_annotation_by_hand_is_not_overwritten(notes, capsys):
    (notes / "a.ann").write_text("", encoding="utf-8")
    assert main(["annotate", str(notes), "--to", str(notes)]) == 1
    assert "give --to another folder" in capsys.readouterr().err


def test_an_old_answer_of_a_note_that_fails_is_removed(notes, tmp_path):
    out = tmp_path / "out"
    main(["annotate", str(notes), "--to", str(out)])
    (notes / "a.txt").write_bytes(b"\xff")
    assert main(["annotate", str(notes), "--to", str(out)]) == 1
    assert [path.name for path in out.iterdir()] == ["empty.ann"]


def test_a_step_that_reads_nothing_says_what_to_do_next():
    planned = {"plan_id": "p-1", "units": 3}
    assert "planned 3 units as p-1: go on with --step infer" in conclusion(planned, "plan")
    assert conclusion({}, "plan").startswith("nothing to plan")
    assert conclusion(planned, "abandon").startswith("gave up plan p-1")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (["extract", "notes", "--to", "out", "--step", "plan"], "exclude one another"),
        (["extract", "notes"], "--to OUT_FOLDER is needed"),
        (["extract"], "give a folder of notes"),
        (["extract", "--config", "c.yml", "--to", "out"], "give a folder of notes"),
    ],
)
def test_a_folder_and_tables_are_two_calls_of_extract(call, error, capsys):
    assert main(call) == 1
    assert error in capsys.readouterr().err
