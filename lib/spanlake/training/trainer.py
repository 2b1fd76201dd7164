"""The Trainer of Hugging Face, as all trainings here use it: token budgets, a line per epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spanlake.corpora import GoldNote
from spanlake.models import Extractor
from spanlake.models.devices import pick_device
from spanlake.models.loading import missing_packages
from spanlake.scoring.counts import Counts
from spanlake.scoring.score_extractor import pooled, score_extractor

try:
    import accelerate  # noqa: F401  # the Trainer imports it late
    import transformers
    from torch.utils.data import DataLoader, Dataset, Sampler
except ImportError:
    raise missing_packages("train") from None

WARMUP = 0.1  # share of all steps
BATCHES_PER_POOL = 50  # sequences are sorted by length only within a pool of about so many batches

log = logging.getLogger(__name__)


class EpochDataset(Dataset[Any]):
    """A list of features for each epoch; of fewer lists than epochs, the first ones come again.

    Feature i of epoch e has the number ``e * len + i``, where len is that of the longest list.
    """

    def __init__(self, epochs: Sequence[Sequence[Any]]) -> None:
        self.epochs = epochs

    def __len__(self) -> int:
        return max(map(len, self.epochs))

    def __getitem__(self, number: int) -> Any:
        epoch, i = divmod(number, len(self))
        return self.epochs[epoch % len(self.epochs)][i]


class TokenBudgetBatches(Sampler[list[int]]):
    """Batches of an `EpochDataset` of sequences of like length, `max_tokens` with padding.

    `lengths` are those of the sequences of each epoch. The batches are shuffled: if their lengths
    rose or fell, a classifier would swing between what is short and what is long. Their number is
    divisible by `world_size`, so each process gets as many.
    """

    def __init__(
        self,
        lengths: Sequence[Sequence[int]],
        max_tokens: int,
        *,
        seed: int,
        epochs: int,
        world_size: int = 1,
    ) -> None:
        self.lengths = [np.asarray(epoch) for epoch in lengths]
        self.max_tokens = max_tokens
        self.seed = seed
        self.epoch = 0
        self.drop_last = False  # read by Accelerate, with batch_size
        self.batch_size = None
        self.pool = BATCHES_PER_POOL * max(1, max_tokens // max(1, int(self.lengths[0].mean())))
        # The same number in every epoch: the Trainer counts those of the first and stops there.
        most = max(len(self._batches(epoch)) for epoch in range(epochs))
        self.count = most + -most % world_size

    @property
    def sampler(self) -> TokenBudgetBatches:
        """Where older Accelerates look for `set_epoch` with several processes."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch's batches come next; called by Accelerate."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches(self.epoch)
        while len(batches) < self.count:  # split the largest, or repeat a batch of one
            batch = batches.pop(max(range(len(batches)), key=lambda i: len(batches[i])))
            half = (len(batch) + 1) // 2
            batches += [batch[:half], batch[half:] or batch]
        order = np.random.default_rng([self.seed, self.epoch, 1]).permutation(len(batches))
        first = self.epoch * max(map(len, self.lengths))
        return iter([[first + i for i in batches[place]] for place in order])

    def _batches(self, epoch: int) -> list[list[int]]:
        lengths = self.lengths[epoch % len(self.lengths)]
        order = np.random.default_rng([self.seed, epoch]).permutation(len(lengths))
        batches: list[list[int]] = []
        for start in range(0, len(order), self.pool):
            longest = 0  # of the current batch; a new pool starts a new batch
            for i in sorted(order[start : start + self.pool].tolist(), key=lambda i: -lengths[i]):
                if not longest or (len(batches[-1]) + 1) * longest > self.max_tokens:
                    batches.append([])
                    longest = lengths[i]
                batches[-1].append(i)
        return batches


class ProgressLog(transformers.TrainerCallback):
    """Logs a line per epoch: loss, speed and remaining time. `size` is the size of an epoch."""

    def __init__(self, size: int, unit: str) -> None:
        self.size, self.unit = size, unit

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began, self.first_epoch = time.monotonic(), state.epoch or 0.0

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        seconds, epochs = time.monotonic() - self.began, state.epoch - self.first_epoch
        last = state.epoch * state.max_steps / state.global_step
        log.info(
            "epoch %.4g of %.4g: loss %.4f, %.0f %s/s, about %.0f s left",
            state.epoch,
            last,
            logs["loss"],
            epochs * self.size / seconds,
            self.unit,
            seconds / epochs * (last - state.epoch),
        )


def training_arguments(
    work: Path, *, bf16: bool, seed: int, **more: Any
) -> transformers.TrainingArguments:
    """Return the Trainer's arguments: checkpoints in `work`, no reports elsewhere.

    There is a checkpoint per epoch unless `more` says otherwise.
    """
    device = pick_device("auto")
    options = {"logging_strategy": "epoch", "save_strategy": "epoch", **more}
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        bf16=bf16,
        seed=seed,
        data_seed=seed,
        warmup_steps=WARMUP,
        lr_scheduler_type="linear",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        disable_tqdm=True,
        save_total_limit=1,
        remove_unused_columns=False,
        report_to="none",
        **options,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel would separate pairs from their sequences
    return arguments


def token_budget_arguments(
    work: Path,
    *,
    epochs: int,
    max_tokens_per_batch: int,
    learning_rate: float,
    bf16: bool,
    seed: int,
    **more: Any,
) -> transformers.TrainingArguments:
    """Return `training_arguments` for a `TokenBudgetTrainer`."""
    return training_arguments(
        work,
        bf16=bf16,
        seed=seed,
        accelerator_config={"even_batches": False},  # `TokenBudgetBatches` are even already
        ddp_find_unused_parameters=True,  # a batch may hold no pairs
        num_train_epochs=epochs,
        per_device_train_batch_size=max_tokens_per_batch,
        learning_rate=learning_rate,
        **more,
    )


class TokenBudgetTrainer(transformers.Trainer):
    """The Trainer over `TokenBudgetBatches` of an `EpochDataset`."""

    def get_train_dataloader(self) -> Any:
        dataset: Any = self.train_dataset
        batches = TokenBudgetBatches(
            [[len(feature["input_ids"]) for feature in epoch] for epoch in dataset.epochs],
            self.args.per_device_train_batch_size,
            seed=self.args.seed,
            epochs=int(self.args.num_train_epochs),
            world_size=self.args.world_size,
        )
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)


def run_trainer(trainer: transformers.Trainer, size: int, unit: str = "words") -> dict[str, Any]:
    """Train, from the last checkpoint where there is one; return what every training reports.

    `size` is how many words, or another `unit`, an epoch has.
    """
    transformers.utils.logging.disable_progress_bar()
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(ProgressLog(size, unit))
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=last_checkpoint(Path(str(trainer.args.output_dir))))
    dataset: Any = trainer.train_dataset
    return {
        "examples": len(dataset),
        "steps": trainer.state.global_step,
        "loss_by_epoch": [
            round(entry["loss"], 5) for entry in trainer.state.log_history if "loss" in entry
        ],
        "seconds": round(time.monotonic() - began, 1),
    }


def last_checkpoint(work: Path) -> str | None:
    """Return the newest complete checkpoint: trainer_state.json is written last."""
    complete = [path.parent for path in work.glob("checkpoint-*/trainer_state.json")]
    newest = max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return str(newest) if newest else None


def strict_scores(notes: Sequence[GoldNote], extractor: Extractor) -> dict[str, Any]:
    """Return strict scores by layer, and of relations on gold and on predicted entities."""
    scores = pooled(score_extractor(notes, extractor), extractor.labels)
    on_gold = scores.gold_entities
    return {
        "notes": scores.notes,
        "main": _numbers(scores.entities.micro.strict),
        "modifier": _numbers(scores.modifiers.micro.strict),
        "relations": _numbers(scores.relations_strict),
        "relations_gold_entities": _numbers(on_gold) if on_gold else None,
    }


def _numbers(counts: Counts) -> dict[str, Any]:
    ratios = {name: getattr(counts, name) for name in ("precision", "recall", "f1")}
    rounded = {name: value and round(value, 4) for name, value in ratios.items()}
    return {**rounded, "tp": counts.tp, "fp": counts.fp, "fn": counts.fn}
