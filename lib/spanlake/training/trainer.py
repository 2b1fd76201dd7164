"""Hugging Face's Trainer as all our trainings use it, and how one that was killed is taken up."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from spanlake.config.train import MaskedTrainConfig, TaggerOptions
from spanlake.models.devices import pick_device
from spanlake.models.loading import missing_packages
from spanlake.training.batches import LengthBatches

try:
    import accelerate  # noqa: F401  # the Trainer asks for it late
    import torch
    import transformers
except ImportError:
    raise missing_packages("train") from None

WARMUP = 0.1  # share of all steps


def arguments_of(
    work: Path, *, bf16: bool, seed: int, **more: Any
) -> transformers.TrainingArguments:
    """Return the Trainer's arguments: a checkpoint an epoch in `work`, nothing reported outside."""
    device = pick_device("auto")
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        bf16=bf16,
        seed=seed,
        data_seed=seed,
        warmup_steps=WARMUP,
        lr_scheduler_type="linear",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        logging_strategy="epoch",
        save_strategy="epoch",
        remove_unused_columns=False,
        report_to="none",
        **more,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel would cut a batch's pairs from their sequences
    return arguments


def batch_arguments(
    work: Path, config: TaggerOptions | MaskedTrainConfig, *, bf16: bool, seed: int, **more: Any
) -> transformers.TrainingArguments:
    """Return `arguments_of` for a `BatchTrainer`: batches are cut by padded tokens."""
    return arguments_of(
        work,
        bf16=bf16,
        seed=seed,
        accelerator_config={"even_batches": False},  # `LengthBatches` deals them out evenly
        ddp_find_unused_parameters=True,  # a batch may hold no pairs
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_tokens,
        learning_rate=config.learning_rate,
        **more,
    )


class BatchTrainer(transformers.Trainer):
    """The Trainer over batches of like length, of a `ByEpoch`."""

    def get_train_dataloader(self) -> Any:
        features: Any = self.train_dataset
        sampler = LengthBatches(
            [[len(feature["input_ids"]) for feature in epoch] for epoch in features.epochs],
            self.args.per_device_train_batch_size,
            seed=self.args.seed,
            epochs=int(self.args.num_train_epochs),
            shares=self.args.world_size,
        )
        loader = torch.utils.data.DataLoader(
            features, batch_sampler=sampler, collate_fn=self.data_collator
        )
        return self.accelerator.prepare(loader)


def last_checkpoint(work: Path, written_last: str = "trainer_state.json") -> str | None:
    """Return the newest whole checkpoint: one with the file that is written last."""
    whole = [path.parent for path in work.glob(f"checkpoint-*/{written_last}")]
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return str(newest) if newest else None


def metrics_of(trainer: transformers.Trainer, began: float) -> dict[str, Any]:
    """Return what every training reports of itself; `began` is of `time.monotonic`."""
    features: Any = trainer.train_dataset
    losses = [round(entry["loss"], 5) for entry in trainer.state.log_history if "loss" in entry]
    return {
        "examples": len(features),
        "steps": trainer.state.global_step,
        "loss_by_epoch": losses,
        "seconds": round(time.monotonic() - began, 1),
    }
