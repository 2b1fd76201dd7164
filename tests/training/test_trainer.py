"""Batches by tokens, and training by two processes, as `torchrun` starts them, on a CPU."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import tiny_config

from gold_notes import NOTES
from spanlake.config.train import TaggerTrainConfig
from spanlake.errors import ConfigError
from spanlake.training.run_dir import require_single_process
from spanlake.training.tagger import train_tagger
from spanlake.training.trainer import TokenBudgetBatches

EPOCHS = 30
TRAIN = """
import hashlib, json, os, sys
from pathlib import Path
from gold_notes import NOTES
from spanlake.config.train import TaggerTrainConfig
from spanlake.training import tagger, trainer

numbers, digests = [], []
get_item, run = trainer.EpochDataset.__getitem__, tagger._run


def recorded_item(self, number):
    numbers.append(number)
    return get_item(self, number)


def digested_run(module, *rest):
    metrics = run(module, *rest)
    state = module.state_dict()
    weights = b"".join(state[name].numpy().tobytes() for name in sorted(state))
    digests.append(hashlib.sha256(weights).hexdigest())
    return metrics


trainer.EpochDataset.__getitem__, tagger._run = recorded_item, digested_run
config = TaggerTrainConfig.model_validate_json(sys.argv[1])
tagger.train_tagger(NOTES, NOTES, config, export=False)
Path(sys.argv[2], os.environ["RANK"]).write_text(json.dumps([numbers, digests]))
"""


def _config(base: Path, output_dir: Path, **more: int) -> TaggerTrainConfig:
    options = {"epochs": EPOCHS, "max_tokens_per_batch": 24, "relation_head_epochs": 5}
    return tiny_config(base, output_dir, **options, **more)


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
        log = run.communicate(timeout=300)[1]
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        raise
    lines = [line for line in log.splitlines(True) if "rank" in line]
    assert run.returncode == 0, "".join(lines)[-3000:]


@pytest.mark.slow
def test_two_processes_train_one_model(tiny_base: Path, tmp_path: Path) -> None:
    script, output_dir = tmp_path / "train.py", tmp_path / "two"
    script.write_text(TRAIN)
    _launch(script, _config(tiny_base, output_dir))
    metrics = json.loads((output_dir / "metrics.json").read_text())
    alone = train_tagger(NOTES, NOTES, _config(tiny_base, tmp_path / "alone"), export=False)
    assert alone["steps"] > 2 * EPOCHS
    assert metrics["eval"]["main"]["f1"] > 0.8
    assert metrics["steps"] == EPOCHS * math.ceil(alone["steps"] / EPOCHS / 2)
    assert not (output_dir / ".training").exists()

    (first, weights), (second, other) = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert weights == other != []  # gradients were shared
    count = metrics["examples"]
    assert {number % count for number in [*first, *second]} == set(range(count))
    half = len(first) // EPOCHS
    orders = {tuple(n % count for n in first[i : i + half]) for i in range(0, len(first), half)}
    assert len(orders) > 3  # another one each epoch

    trained = (output_dir / "model.safetensors").stat().st_mtime_ns
    _launch(script, _config(tiny_base, output_dir))
    assert (output_dir / "model.safetensors").stat().st_mtime_ns == trained
    with pytest.raises(ConfigError, match="differs in processes"):
        train_tagger(NOTES, NOTES, _config(tiny_base, output_dir))
    again = _config(tiny_base, output_dir).model_copy(update={"resume": False})
    assert train_tagger(NOTES, NOTES, again, export=False)["steps"] == alone["steps"]


@pytest.mark.slow
def test_two_processes_train_a_soup(tiny_base: Path, tmp_path: Path) -> None:
    script, output_dir = tmp_path / "train.py", tmp_path / "soup"
    script.write_text(TRAIN)
    _launch(script, _config(tiny_base, output_dir, soup_size=2))
    metrics = json.loads((output_dir / "metrics.json").read_text())
    assert metrics["eval"]["main"]["f1"] > 0.8
    assert len(metrics["runs"]) == 2
    (_, weights), (_, other) = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert weights == other  # each training ends with one model, the second's another
    assert weights[-1] != weights[len(weights) // 2 - 1]


def test_every_epoch_has_each_sequence_once_in_other_batches() -> None:
    lengths = [5 + (i * i) % 37 for i in range(2500)]
    batches = TokenBudgetBatches([lengths], 200, seed=1, epochs=12)
    epochs = []
    for epoch in range(12):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
        assert len(epochs[-1]) == len(batches), "the Trainer would drop further ones"
        assert sorted(i % 2500 for batch in batches for i in batch) == list(range(2500))
        assert all(len(b) * max(lengths[i % 2500] for i in b) <= 200 for b in batches)
    assert [sorted(i % 2500 for i in batch) for batch in epochs[0]] != [
        sorted(i % 2500 for i in batch) for batch in epochs[1]
    ]


def test_a_batch_is_repeated_for_processes_without_one() -> None:
    batches = TokenBudgetBatches([[30, 30, 30]], 32, seed=1, epochs=1, world_size=4)
    assert sorted(map(len, batches)) == [1, 1, 1, 1]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_process_gets_as_many_batches(world_size: int) -> None:
    lengths = [list(range(3, 40)), list(range(40, 3, -1))[:37]]
    batches = TokenBudgetBatches(lengths, 64, seed=1, epochs=4, world_size=world_size)
    for epoch in range(4):
        batches.set_epoch(epoch)
        read = list(batches)
        assert len(read) == len(batches)
        assert len(read) % world_size == 0
        assert sorted(i - epoch * 37 for batch in read for i in batch) == list(range(37))


def test_work_of_one_process_refuses_several(monkeypatch: pytest.MonkeyPatch) -> None:
    require_single_process("distillation")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="distillation takes one process"):
        require_single_process("distillation")
