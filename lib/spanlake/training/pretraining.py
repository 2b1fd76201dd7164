"""Further pretraining of an encoder on notes without annotation, before it is fine-tuned."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import transformers

from spanlake.config.train import MaskedTrainConfig
from spanlake.core.types import Note
from spanlake.errors import ConfigError, ModelError
from spanlake.models.loading import find_folder
from spanlake.models.network import load_checkpoint, most_pieces
from spanlake.models.tokenization import checkpoint_tokenizer, pieces_of
from spanlake.training.apart import learnt_by
from spanlake.training.batches import ByEpoch
from spanlake.training.masking import MaskedTrainer, WordMasker, masking_features
from spanlake.training.processes import require_one
from spanlake.training.recipe import (
    METRICS,
    WORK,
    check_vacant,
    prepare,
    read_json,
    unlabelled_recipe,
    uses_bf16,
    write_json,
)
from spanlake.training.trainer import batch_arguments, last_checkpoint, metrics_of
from spanlake.training.unlabelled import unlabelled_notes

log = logging.getLogger(__name__)


def pretrain(config: MaskedTrainConfig) -> dict[str, Any]:
    """Train `config.model` to guess hidden words of the notes, into `config.to`; return metrics.

    The folder is a checkpoint like any other. It is left as it is when it was made by the same
    recipe, unless `config.resume` is false. Source: arXiv 2004.10964 (task-adaptive pretraining).
    Raises ConfigError where the folder holds what another recipe made.
    """
    require_one("pretraining")
    if learnt_by(config.model):
        raise ConfigError(f"{config.model} has learnt annotated notes: pretrain an encoder")
    top, notes = Path(config.to), unlabelled_notes(config)
    recipe = unlabelled_recipe(notes, config)
    done = top / METRICS
    made = read_json(done) if config.resume else None
    if made and made["recipe"] == recipe:
        log.info("%s: already trained by this recipe", top)
        return made
    check_vacant(top, recipe, resume=config.resume)
    for name in (METRICS, "model.safetensors"):
        (top / name).unlink(missing_ok=True)  # a half-trained folder is no checkpoint
    prepare(top, recipe, (), resume=config.resume)
    metrics = {"recipe": recipe, "notes": len(notes), **_fit(notes, config)}
    write_json(done, metrics)
    shutil.rmtree(top / WORK)
    return metrics


def _fit(notes: list[Note], config: MaskedTrainConfig) -> dict[str, Any]:
    base, top = find_folder(config.model), Path(config.to)
    transformers.set_seed(config.seed)  # a fresh head is drawn here
    model, missing = load_checkpoint(transformers.AutoModelForMaskedLM, base)
    lost = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
    if lost:
        raise ModelError(f"{base}: no text encoder: no weights for {', '.join(lost[:4])}")
    tokenizer, pieces = checkpoint_tokenizer(base), pieces_of(base)
    if tokenizer.mask_token_id is None:
        raise ConfigError(f"{base}: its tokenizer has no mask token")
    limit = most_pieces(model, pieces, config.max_tokens)
    masker = WordMasker(
        mask=tokenizer.mask_token_id,
        filler=pieces.pad,
        vocabulary=model.config.vocab_size,
        share=config.masked,
    )
    began = time.monotonic()
    trainer = MaskedTrainer(
        model=model,
        args=batch_arguments(
            top / WORK,
            config,
            bf16=uses_bf16(config),
            seed=config.seed,
            weight_decay=config.weight_decay,
            save_total_limit=1,
        ),
        data_collator=masker,
        train_dataset=ByEpoch([masking_features(notes, pieces, limit=limit)]),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(top / WORK))
    model.save_pretrained(top)
    tokenizer.save_pretrained(top)
    return metrics_of(trainer, began)
