"""The bundled default model as a user meets it: no name, no torch, a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.extractors import extractor_config
from spanlake.core.types import Unit
from spanlake.corpora import read_brat
from spanlake.errors import ModelError
from spanlake.models import load_extractor
from spanlake.models.loading import bundled
from spanlake.models.tagger.encoder import threads
from spanlake.scoring.score_extractor import pooled, score_extractor

MOST_BYTES = 48 * 1024 * 1024
QUIET = """
import sys
from spanlake.cli import main
code = main(["annotate", sys.argv[1], "--to", sys.argv[2]])
heavy = {"torch", "transformers", "pyspark", "openvino_telemetry"}
print(code, sorted(name for name in heavy if sys.modules.get(name)))
"""


def test_it_reads_a_plain_sentence() -> None:
    small = load_extractor(extractor_config(device="cpu"))
    text = "Patient denies chest pain. Takes aspirin 81 mg daily."
    [answer] = small.extract([Unit(text)])
    found = {(e.text, e.label) for e in answer.entities}
    assert {("denies", "negation"), ("chest pain", "problem"), ("aspirin", "drug")} <= found
    ends = {(answer.entities[r.head].text, answer.entities[r.tail].text) for r in answer.relations}
    assert ("chest pain", "denies") in ends


def test_it_has_a_name_which_a_folder_may_have_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = load_extractor(extractor_config(device="cpu"))
    monkeypatch.chdir(tmp_path)
    named = extractor_config(model="small", device="cpu")
    assert load_extractor(named).fingerprint == small.fingerprint
    twice = load_extractor(extractor_config(models=("small", "small"), device="cpu"))
    assert twice.fingerprint != small.fingerprint
    (tmp_path / "small").mkdir()
    with pytest.raises(ModelError, match="not a tagger model"):
        load_extractor(named)
    assert load_extractor(extractor_config(device="cpu")).fingerprint == small.fingerprint


def test_it_is_no_larger_than_promised_and_names_no_place_of_its_making() -> None:
    files = [path for path in bundled().iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    manifest = (bundled() / "spanlake.json").read_text(encoding="utf-8")
    assert json.loads(manifest)["kind"] == "tagger"
    training = json.loads(manifest)["training"]
    assert "/" not in training["recipe"]["model"]
    assert all(len(bytes.fromhex(digest)) == 32 for digest in training["training_text_hashes"])


@pytest.mark.slow
def test_it_beats_the_dictionary_on_the_bundled_notes(samples: Path) -> None:
    scores = {}
    for kind in ("tagger", "dictionary"):
        model = load_extractor(extractor_config(kind=kind, device="cpu"))
        notes, _ = read_brat(samples, model.labels)
        scores[kind] = pooled(score_extractor(notes, model), model.labels)
    small, dictionary = scores["tagger"], scores["dictionary"]
    assert small.entities.micro.strict.f1 > dictionary.entities.micro.strict.f1
    assert small.relations_strict.f1 > dictionary.relations_strict.f1


def test_it_loads_neither_torch_nor_anything_that_calls_home(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("No fever.", encoding="utf-8")
    call = [sys.executable, "-c", QUIET, str(tmp_path / "notes"), str(tmp_path / "out")]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "0 []"


@pytest.mark.parametrize(("told", "expected"), [("", 0), ("2", 2), ("4,1", 4)])
def test_all_cores_read_but_where_a_number_is_told(told: str, expected: int, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert threads() == expected


def test_a_gpu_without_torch_is_an_error_of_one_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from spanlake.cli import main\n"
        "sys.exit(main(['annotate', sys.argv[1], '--to', sys.argv[2],"
        " '--set', 'extractor.device=cuda']))"
    )
    (tmp_path / "a.txt").write_text("No fever.")
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and run.stderr.startswith("ModelError: torch and transformers not")
    assert len(run.stderr.splitlines()) == 1
