"""The command line as a user calls it."""

from __future__ import annotations

import json

import pytest

from spanlake.cli import main
from spanlake.core.config import ExtractorConfig
from spanlake.core.corpora import read_ann
from spanlake.core.labels import load_labels
from spanlake.core.units import Note
from spanlake.models import load_extractor
from spanlake.models.annotate import annotate

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
    expected = annotate([Note("a", TEXT)], load_extractor(ExtractorConfig()), "")[0].annotation
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
    assert f"not read in {notes}: 1 sub-folders, 1 .md files\n" in caplog.text
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
    files = {end: tmp_path / f"s.{end}" for end in ("json", "html")}
    options = [part for end, path in files.items() for part in (f"--{end}", str(path))]
    folders = ["--gold", str(tmp_path / "gold"), "--predicted", str(tmp_path / "predicted")]
    assert main(["evaluate", *folders, *options]) == 0
    told = "cost no precision here: 1 bad_line, 1 offsets_outside, 1 unknown_label."
    assert told in capsys.readouterr().out and told in files["html"].read_text()
    scores = json.loads(files["json"].read_text())
    reasons = {"bad_line": 1, "offsets_outside": 1, "unknown_label": 1}
    assert scores["unread_predictions"] == reasons
    assert scores["gold_problems"] == {"unknown_label": 1}


def test_refused_relations_of_a_prediction_count_as_wrong(tmp_path):
    gold, predicted = tmp_path / "gold", tmp_path / "predicted"
    lines = "T1\tproblem 3 8\tfever\nT2\tnegation 0 2\tNo\nR1\thasAttr Arg1:T1 Arg2:T2\n"
    for folder, more in ((gold, ""), (predicted, "R2\thasAttr Arg1:T2 Arg2:T1\n")):
        folder.mkdir()
        (folder / "a.ann").write_text(lines + more, encoding="utf-8")
    (gold / "a.txt").write_text("No fever.", encoding="utf-8")
    out = tmp_path / "new" / "scores.json"
    call = ["evaluate", "--gold", str(gold), "--predicted", str(predicted), "--json", str(out)]
    assert main(call) == 0
    strict = json.loads(out.read_text(encoding="utf-8"))["relations"]["strict"]
    assert (strict["tp"], strict["fp"], strict["fn"]) == (1, 1, 0)


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
