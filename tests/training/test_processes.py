"""Training by two processes, as `torchrun` starts them; on a CPU, where both learn by gloo."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_recipe import tiny_recipe

from gold_notes import NOTES

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.train import TaggerTrainConfig  # noqa: E402
from spanlake.errors import ConfigError  # noqa: E402
from spanlake.training.batches import LengthBatches  # noqa: E402
from spanlake.training.processes import require_one  # noqa: E402
from spanlake.training.tagger import train_tagger  # noqa: E402

EPOCHS = 30
TRAIN = """
import hashlib, json, os, sys
from pathlib import Path
from gold_notes import NOTES
from spanlake.config.train import TaggerTrainConfig
from spanlake.training import batches, tagger

read, weights = [], []
item, train = batches.ByEpoch.__getitem__, tagger._train


def noted(self, number):
    read.append(number)
    return item(self, number)


def digested(module, *rest):
    metrics = train(module, *rest)
    found = module.state_dict()
    whole = b"".join(found[name].numpy().tobytes() for name in sorted(found))
    weights.append(hashlib.sha256(whole).hexdigest())
    return metrics


batches.ByEpoch.__getitem__, tagger._train = noted, digested
tagger.train_tagger(NOTES, NOTES, TaggerTrainConfig.model_validate_json(sys.argv[1]))
Path(sys.argv[2], os.environ["RANK"]).write_text(json.dumps([read, weights]))
"""


def _options(base: Path, to: Path, **more: int) -> TaggerTrainConfig:
    return tiny_recipe(base, to, epochs=EPOCHS, batch_tokens=24, link_epochs=5, **more)


def _launch(script: Path, config: TaggerTrainConfig) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", "2",
               str(script), config.model_dump_json(), str(script.parent)]  # fmt: skip
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(
        command, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        said = run.communicate(timeout=300)[1]
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    assert run.returncode == 0, "".join(line for line in said.splitlines(True) if "rank" in line)[
        -3000:
    ]


def test_two_processes_share_the_batches_and_train_one_model(
    tiny_base: Path, tmp_path: Path
) -> None:
    script, to = tmp_path / "train.py", tmp_path / "together"
    script.write_text(TRAIN)
    _launch(script, _options(tiny_base, to))
    metrics = json.loads((to / "metrics.json").read_text())
    config = _options(tiny_base, tmp_path / "alone")
    alone = train_tagger(NOTES, NOTES, config)
    assert alone["steps"] > 2 * EPOCHS
    assert metrics["dev"]["main"]["f1"] > 0.8
    assert metrics["steps"] == EPOCHS * math.ceil(alone["steps"] / EPOCHS / 2)
    assert not (to / ".training").exists()

    (first, one), (second, other) = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert one == other != []  # gradients were shared
    count = metrics["examples"]
    assert {number % count for number in [*first, *second]} == set(range(count))
    half = len(first) // EPOCHS
    orders = {tuple(n % count for n in first[i : i + half]) for i in range(0, len(first), half)}
    assert len(orders) > 3  # new ones

    trained = (to / "model.safetensors").stat().st_mtime_ns
    _launch(script, _options(tiny_base, to))
    assert (to / "model.safetensors").stat().st_mtime_ns == trained
    with pytest.raises(ConfigError, match="differs in processes"):
        train_tagger(NOTES, NOTES, _options(tiny_base, to))
    again = _options(tiny_base, to, resume=False)
    assert train_tagger(NOTES, NOTES, again)["steps"] == alone["steps"]


@pytest.mark.slow
def test_two_processes_train_several_runs_and_share_their_mean(
    tiny_base: Path, tmp_path: Path
) -> None:
    script, to = tmp_path / "train.py", tmp_path / "runs"
    script.write_text(TRAIN)
    _launch(script, _options(tiny_base, to, runs=2))
    metrics = json.loads((to / "metrics.json").read_text())
    assert metrics["dev"]["main"]["f1"] > 0.8
    assert len(metrics["runs"]) == 2
    (_, one), (_, other) = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert one == other  # each run ends with one model, the second's another
    assert one[-1] != one[len(one) // 2 - 1]


def test_processes_without_a_batch_of_their_own_get_another_ones() -> None:
    batches = LengthBatches([[30, 30, 30]], 32, seed=1, epochs=1, shares=4)
    assert sorted(map(len, batches)) == [1, 1, 1, 1]


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_every_process_gets_as_many_batches(shares: int) -> None:
    lengths = [list(range(3, 40)), list(range(40, 3, -1))[:37]]
    batches = LengthBatches(lengths, 64, seed=1, epochs=4, shares=shares)
    for epoch in range(4):
        batches.set_epoch(epoch)
        read = list(batches)
        assert len(read) == len(batches)
        assert len(read) % shares == 0
        assert sorted(i - epoch * 37 for batch in read for i in batch) == list(range(37))


def test_what_one_process_does_refuses_several(monkeypatch: pytest.MonkeyPatch) -> None:
    require_one("a learning curve")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="a learning curve takes one process"):
        require_one("a learning curve")
