"""Training of the one-pass tagger: one model folder, taken up where it was killed."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spanlake.core.bio import tag_names
from spanlake.core.config import ExtractorConfig
from spanlake.core.corpora import GoldNote
from spanlake.core.errors import ConfigError, DataError, ModelError
from spanlake.core.labels import LAYERS, LabelSet, load_labels
from spanlake.core.train_config import TaggerTrainConfig
from spanlake.models.devices import pick_device
from spanlake.models.loading import find_folder, missing_packages, read_manifest
from spanlake.models.network import most_pieces
from spanlake.models.pieces import checkpoint_tokenizer, pieces_of
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.folder import KIND, save
from spanlake.models.tagger.module import OnePass, Shape
from spanlake.models.tagger.pair_features import feature_count
from spanlake.training.batches import LengthBatches
from spanlake.training.datasets import Feature, examples_of
from spanlake.training.evaluation import strict_scores
from spanlake.training.joint import JointLearner, collate_joint, joint_features
from spanlake.training.recipe import (
    METRICS,
    WORK,
    is_finished,
    prepare,
    recipe_of,
    uses_bf16,
    write_json,
)

try:
    import accelerate  # noqa: F401  # the Trainer asks for it late
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
    from torch.optim.swa_utils import AveragedModel
except ImportError:
    raise missing_packages("train") from None

WARMUP = 0.1  # share of all steps
LAYER = re.compile(r"\.(?:layer|layers|albert_layers|block|h)\.(\d+)\.")
SLOW_START = 10  # steps after which the average begins to look back beyond the last few
AVERAGE = "average.safetensors"

log = logging.getLogger(__name__)


def train_tagger(
    notes: Sequence[GoldNote], dev: Sequence[GoldNote], config: TaggerTrainConfig
) -> dict[str, Any]:
    """Train a tagger on `notes` into the folder `config.to`; return its metrics.

    metrics.json gets the same, with the finished extractor's scores on `dev`, on which nothing is
    chosen. A finished folder of the same recipe is left as it is, unless `config.resume` is false.
    """
    labels, top = load_labels(config.labels), Path(config.to)
    recipe = recipe_of(notes, labels, config)
    if config.resume and is_finished(top, KIND, recipe):
        log.info("%s: already trained by this recipe", top)
    else:
        prepare(top, recipe, (), resume=config.resume)
        _fit(notes, labels, config, recipe)
        shutil.rmtree(top / WORK)
    metrics = dict(read_manifest(top, KIND)["training"])
    metrics["dev"] = strict_scores(dev, OnePassTagger(extractor_config(config))) if dev else None
    write_json(top / METRICS, metrics)
    return metrics


def extractor_config(config: TaggerTrainConfig) -> ExtractorConfig:
    """Return how the model that `config` trains is read with."""
    shared = config.model_dump(include={"labels", "max_tokens", "stride", "max_pair_words"})
    return ExtractorConfig.model_validate({"kind": KIND, "model": config.to, **shared})


def _fit(
    notes: Sequence[GoldNote], labels: LabelSet, config: TaggerTrainConfig, recipe: dict[str, Any]
) -> None:
    base, top = find_folder(config.model), Path(config.to)
    transformers.set_seed(config.seed)  # the fresh heads are drawn here
    module = OnePass(_backbone(base, config), shape_of(labels, config))
    pieces = pieces_of(base)
    limit = most_pieces(module.backbone, pieces, config.max_tokens)
    options = {"limit": limit, "stride": config.stride, "max_pair_words": config.max_pair_words}
    examples, data = examples_of(notes)
    features, counts = joint_features(examples, pieces, labels, **options)
    metrics = _train(module, features, pieces.pad, config, top / WORK)
    training = {"recipe": recipe, **metrics, **counts, "data": dict(data)}
    details = {"longest": limit + pieces.specials, "training": training}
    save(module, checkpoint_tokenizer(base), labels, top, details)


def shape_of(labels: LabelSet, config: TaggerTrainConfig) -> Shape:
    """Return the heads' sizes for a label set."""
    return Shape(
        tags=tuple(
            len(tag_names(labels.labels_of(layer))) for layer in LAYERS if labels.labels_of(layer)
        ),
        relations=len(labels.relations),
        pair_features=feature_count(labels),
        mixed_layers=config.mixed_layers,
        dropout=config.dropout,
    )


def _backbone(base: Path, config: TaggerTrainConfig) -> Any:
    """Load an encoder; raises ModelError when weights are missing, ConfigError for its depth."""
    try:
        backbone, report = transformers.AutoModel.from_pretrained(
            base,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{base}: cannot be loaded ({type(error).__name__})") from None
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise ModelError(f"{base}: no text encoder: no weights for {', '.join(missing[:4])}")
    depth = backbone.config.num_hidden_layers
    if config.mixed_layers > depth:
        raise ConfigError(f"mixed_layers is {config.mixed_layers}, the model has {depth} layers")
    return backbone


def _train(
    module: OnePass, features: list[Feature], filler: int, config: TaggerTrainConfig, work: Path
) -> dict[str, Any]:
    if not features:
        raise DataError("the notes hold nothing to train on")
    began = time.monotonic()
    learner = JointLearner(module)
    average = WeightAverage(learner, config.weight_average)
    trainer = BatchTrainer(
        model=learner,
        args=_arguments(config, work),
        data_collator=partial(collate_joint, filler=filler),
        train_dataset=features,
        callbacks=[average],
        optimizers=(torch.optim.AdamW(parameter_groups(module, config)), None),
    )
    trainer.train(resume_from_checkpoint=_last_checkpoint(work))
    module.load_state_dict(average.state())
    losses = [round(entry["loss"], 5) for entry in trainer.state.log_history if "loss" in entry]
    return {
        "examples": len(features),
        "steps": trainer.state.global_step,
        "loss_by_epoch": losses,
        "seconds": round(time.monotonic() - began, 1),
    }


def parameter_groups(module: OnePass, config: TaggerTrainConfig) -> list[dict[str, Any]]:
    """Return AdamW's groups: heads at their own rate, each layer at `layer_decay` of the next.

    Biases and norms are not decayed.
    """
    depth = module.backbone.config.num_hidden_layers
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in module.named_parameters():
        rate = config.head_learning_rate
        if name.startswith("backbone."):
            match = LAYER.search(name)
            below = depth - 1 - int(match[1]) if match else depth * ("embed" in name)
            rate = config.learning_rate * config.layer_decay**below
        decay = 0.0 if parameter.ndim < 2 else config.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


class BatchTrainer(transformers.Trainer):
    """The Trainer over batches of like length."""

    def get_train_dataloader(self) -> Any:
        features: Any = self.train_dataset
        sampler = LengthBatches(
            [len(feature["input_ids"]) for feature in features],
            self.args.per_device_train_batch_size,
            seed=self.args.seed,
            epochs=int(self.args.num_train_epochs),
        )
        loader = torch.utils.data.DataLoader(
            features, batch_sampler=sampler, collate_fn=self.data_collator
        )
        return self.accelerator.prepare(loader)


class WeightAverage(transformers.TrainerCallback):
    """An exponential moving average of the weights, kept with every checkpoint."""

    def __init__(self, learner: JointLearner, decay: float) -> None:
        self.learner = learner
        self.decay = decay
        self.average = AveragedModel(learner.module, multi_avg_fn=self._blend)

    @torch.no_grad()
    def _blend(self, average: Any, now: Any, seen: Any) -> None:
        """Take in a step's weights; early on it forgets faster, or the first ones would stay."""
        decay = min(self.decay, (1 + int(seen)) / (SLOW_START + int(seen)))
        torch._foreach_lerp_(average, now, 1 - decay)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.average.to(next(self.learner.parameters()).device)
        if state.global_step:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / AVERAGE
            self.average.module.load_state_dict(load_file(path))
            self.average.n_averaged += state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.average.update_parameters(self.learner.module)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / AVERAGE
        partial_path = path.with_suffix(".partial")
        save_file(self.average.module.state_dict(), partial_path)
        partial_path.replace(path)

    def state(self) -> dict[str, Any]:
        """Return the averaged weights."""
        return self.average.module.state_dict()


def _arguments(config: TaggerTrainConfig, work: Path) -> transformers.TrainingArguments:
    device = pick_device("auto")
    arguments = transformers.TrainingArguments(
        output_dir=str(work),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_tokens,  # what BatchTrainer cuts batches by
        learning_rate=config.learning_rate,
        warmup_steps=WARMUP,
        lr_scheduler_type="linear",
        bf16=uses_bf16(config),
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        seed=config.seed,
        data_seed=config.seed,
        logging_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,  # the older one stays until the newer one has its average
        remove_unused_columns=False,
        report_to="none",
    )
    if arguments.world_size > 1:
        raise ConfigError("the tagger is trained by one process: start it without torchrun")
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel would cut the pairs from their sequences
    return arguments


def _last_checkpoint(work: Path) -> str | None:
    """Return the newest whole checkpoint: the average is what is written last."""
    whole = [path.parent for path in work.glob(f"checkpoint-*/{AVERAGE}")]
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return str(newest) if newest else None
