"""Continue the pretraining of an encoder on notes without annotation (masked language modelling).

python studies/pretrain_encoder.py --config conf/pretrain_minilm.yml --set model=PATH_OR_NAME
A training that was killed resumes from its last epoch. The result is a checkpoint to fine-tune:
jobs/train.py --set model=FOLDER. Source: arXiv 2004.10964 (task-adaptive pretraining).
"""

from __future__ import annotations

import argparse
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from pydantic import Field
from torch import Tensor, nn

from spanlake.cli import config_parser, print_training, run_reporting_errors
from spanlake.config.base import load_config
from spanlake.config.train import RunConfig, UnlabelledNotes
from spanlake.core.bio import words
from spanlake.core.types import Note
from spanlake.errors import ConfigError, ModelError
from spanlake.models.batching import pad
from spanlake.models.loading import find_folder
from spanlake.models.network import load_checkpoint, most_pieces
from spanlake.models.tokenization import WordTokenizer, checkpoint_tokenizer, load_word_tokenizer
from spanlake.text.sentences import split
from spanlake.training import run_dir
from spanlake.training.examples import read_unlabelled
from spanlake.training.leakage import training_text_hashes
from spanlake.training.trainer import (
    EpochDataset,
    TokenBudgetTrainer,
    run_trainer,
    token_budget_arguments,
)

Feature = dict[str, Any]  # input_ids, and of each the number of its word
IGNORED = -100  # the label that cross entropy ignores
MASKED, KEPT = 0.8, 0.1  # of the chosen words; the rest become random subwords (arXiv 1810.04805)
WEIGHTS = "model.safetensors"


class PretrainConfig(UnlabelledNotes, RunConfig):
    """Keys of `conf/pretrain_*.yml`."""

    epochs: int = Field(2, ge=1, description="Epochs.")
    learning_rate: float = Field(5e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    mlm_probability: float = Field(0.15, gt=0, lt=1, description="Share of words to predict.")
    max_tokens: int = Field(128, ge=16, le=8192, description="Subwords of a training example.")
    max_tokens_per_batch: int = Field(2048, ge=16, description="Subwords per step, with padding.")


def pretrain(config: PretrainConfig) -> dict[str, Any]:
    """Train `config.model` into the checkpoint `config.output_dir`; return metrics.

    A finished folder of the same recipe is left as it is, unless `config.resume` is false. Raises
    ConfigError where the folder holds a model of another recipe.
    """
    run_dir.require_single_process("pretraining")
    if training_text_hashes(config.model):
        raise ConfigError(f"{config.model} was trained on annotated notes: pretrain an encoder")
    output_dir, notes = Path(config.output_dir), read_unlabelled(config)
    recipe = run_dir.recipe_of(config, run_dir.text_digest(notes))
    finished = run_dir.read_json(output_dir / run_dir.METRICS)
    if config.resume and finished and finished["recipe"] == recipe:
        return finished
    work = run_dir.train_or_resume(output_dir, "encoder", recipe, resume=config.resume)
    assert work is not None  # a checkpoint has no manifest
    for name in (run_dir.METRICS, WEIGHTS):
        (output_dir / name).unlink(missing_ok=True)  # a half-trained folder is no checkpoint

    transformers.set_seed(config.seed)  # a new head is initialised at random
    base = find_folder(config.model)
    model, missing = load_checkpoint(transformers.AutoModelForMaskedLM, base)
    encoder_missing = [n for n in missing if n.startswith(f"{model.base_model_prefix}.")]
    if encoder_missing:
        raise ModelError(f"{base}: no text encoder: no weights for {encoder_missing[:4]}")
    hf_tokenizer, tokenizer = checkpoint_tokenizer(base), load_word_tokenizer(base)
    if hf_tokenizer.mask_token_id is None:
        raise ConfigError(f"{base}: its tokenizer has no mask token")
    limit = most_pieces(model, tokenizer, config.max_tokens)
    features = masking_features(notes, tokenizer, limit=limit)
    trainer = MaskedTrainer(
        model=model,
        args=token_budget_arguments(
            work,
            epochs=config.epochs,
            max_tokens_per_batch=config.max_tokens_per_batch,
            learning_rate=config.learning_rate,
            bf16=run_dir.uses_bf16(config.precision),
            seed=config.seed,
            weight_decay=config.weight_decay,
        ),
        data_collator=WordMasker(
            mask_id=hf_tokenizer.mask_token_id,
            pad_id=tokenizer.pad,
            vocabulary=model.config.vocab_size,
            probability=config.mlm_probability,
        ),
        train_dataset=EpochDataset([features]),
    )
    metrics = run_trainer(trainer, sum(len(set(f["word"].tolist())) - 1 for f in features))
    model.save_pretrained(output_dir)
    hf_tokenizer.save_pretrained(output_dir)
    metrics = {"recipe": recipe, "notes": len(notes), **metrics}
    run_dir.write_json(output_dir / run_dir.METRICS, metrics)
    run_dir.remove_work(output_dir)
    return metrics


def masking_features(
    notes: Iterable[Note], tokenizer: WordTokenizer, *, limit: int
) -> list[Feature]:
    """Return the notes in runs of whole sentences of at most `limit` subwords.

    The tokenizer's closing special token stands for a newline. `word` numbers the word of each
    subword, -1 for special tokens.
    """
    features: list[Feature] = []
    for note in notes:
        run: list[list[int]] = []
        for sentence in _sentences(note, tokenizer, limit):
            if run and sum(map(len, run)) + sum(map(len, sentence)) > limit:
                features.append(_feature(run, tokenizer))
                run = []
            run += sentence
        if run:
            features.append(_feature(run, tokenizer))
    return features


def _sentences(note: Note, tokenizer: WordTokenizer, limit: int) -> Iterator[list[list[int]]]:
    """Yield the subwords of each sentence's words, a long sentence in parts."""
    text, end = note.note_text, 0
    for sentence in split(text):
        span = sentence.span
        target = text[span.start : span.end]
        subwords = tokenizer.of(target[word.start : word.end] for word in words(target))
        fitting = [ids for ids in subwords if 0 < len(ids) < limit]
        if "\n" in text[end : span.start]:
            fitting.insert(0, list(tokenizer.after))
        end = span.end
        while fitting:
            lengths = list(accumulate(map(len, fitting)))
            count = bisect_right(lengths, limit)
            yield fitting[:count]
            fitting = fitting[count:]


def _feature(run: Sequence[list[int]], tokenizer: WordTokenizer) -> Feature:
    newline, first = list(tokenizer.after), len(tokenizer.before)
    ids = tokenizer.wrap([subword for word in run for subword in word])
    word = np.full(len(ids), -1, dtype=np.int64)
    numbers = [-1 if subwords == newline else i for i, subwords in enumerate(run)]
    sizes = [len(subwords) for subwords in run]
    word[first : first + sum(sizes)] = np.repeat(numbers, sizes)
    return {"input_ids": ids, "word": word}


class WordMasker:
    """Collates features and hides a share of their words, whole words, other ones at every call."""

    def __init__(self, *, mask_id: int, pad_id: int, vocabulary: int, probability: float) -> None:
        self.mask_id, self.pad_id = mask_id, pad_id
        self.vocabulary, self.probability = vocabulary, probability

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        padded, attention = pad([feature["input_ids"] for feature in features], self.pad_id)
        ids, word_of = torch.from_numpy(padded), torch.full(padded.shape, -1)
        for row, feature in enumerate(features):
            word_of[row, : len(feature["word"])] = torch.from_numpy(feature["word"])
        # One random number per word, the same for all its subwords.
        draws = torch.rand(len(features), int(word_of.max()) + 1)
        drawn = draws.gather(1, word_of.clamp(min=0)) / self.probability
        hidden = (word_of >= 0) & (drawn < 1)
        labels = torch.where(hidden, ids, IGNORED)
        other = torch.randint(self.vocabulary, ids.shape)
        ids = torch.where(hidden & (drawn < MASKED), self.mask_id, ids)
        ids = torch.where(hidden & (drawn >= MASKED + KEPT), other, ids)
        return {"input_ids": ids, "attention_mask": torch.from_numpy(attention), "labels": labels}


class MaskedTrainer(TokenBudgetTrainer):
    """Trains a masked language model whose head reads the hidden subwords only, a sixth of all.

    It trains without dropout: the text is read a few times at most, and drawing is slow on a CPU.
    """

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        """Return the mean loss over the subwords that have labels."""
        model.eval()
        labels = inputs["labels"]
        hidden = labels != IGNORED
        with self.accelerator.autocast():
            logits = _logits(model, inputs["input_ids"], inputs["attention_mask"], hidden)
        return nn.functional.cross_entropy(logits.float(), labels[hidden])


def _logits(model: Any, ids: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
    """Return ``[hidden subwords, vocabulary]``; a head of one module reads the hidden ones only."""
    heads = [child for child in model.children() if child is not model.base_model]
    if len(heads) != 1:
        return model(input_ids=ids, attention_mask=mask).logits[hidden]
    return heads[0](model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[hidden])


def job(arguments: argparse.Namespace) -> int:
    config = load_config(PretrainConfig, arguments.config, arguments.overrides)
    return print_training(pretrain(config), config.output_dir)


def main(argv: list[str] | None = None) -> int:
    options = config_parser(str(__doc__), "conf/pretrain_*.yml", PretrainConfig)
    return run_reporting_errors(job, options.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
