from __future__ import annotations

import json

from spanlake.cli import main


def test_the_papers_scorers_are_printed_beside_ours_only_when_asked_for(
    few_samples, tmp_path, capsys
):
    out = tmp_path / "scores.json"
    call = ["evaluate", "--gold", str(few_samples), "--predicted", str(few_samples)]
    assert main([*call, "--json", str(out)]) == 0
    assert "papers" not in capsys.readouterr().out
    assert "paper_scorers" not in json.loads(out.read_text(encoding="utf-8"))
    assert main([*call, "--json", str(out), "--paper-scorers"]) == 0
    printed = capsys.readouterr().out.splitlines()
    for name in ("ours, strict", "2411.10020 (Kiwi), exact", "2504.00664, strict"):
        lines = [line.split() for line in printed if line.startswith(f"  {name}")]
        assert [line[-3:] for line in lines] == [["1.000"] * 3] * 2  # of either layer
    found = json.loads(out.read_text(encoding="utf-8"))["paper_scorers"]
    assert found["entities"]["kiwi"]["relaxed"]["f1"] == 1.0
    assert set(found["modifiers"]["semeval"]["lengths"]) == {"1", "2", "3+"}
