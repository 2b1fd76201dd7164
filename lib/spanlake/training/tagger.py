"""Training of the tagger: one model for entities and relations over one encoder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spanlake.config.extractors import TaggerConfig
from spanlake.config.train import ModelTrainConfig, TaggerOptions, TaggerTrainConfig
from spanlake.core.labels import LabelSet, load_labels
from spanlake.corpora import GoldNote
from spanlake.errors import ConfigError, DataError, ModelError
from spanlake.models.decoding import Calibration
from spanlake.models.devices import pick_device
from spanlake.models.llama.loading import load_base
from spanlake.models.loading import MANIFEST, find_folder, missing_packages, read_manifest
from spanlake.models.network import load_checkpoint, most_pieces
from spanlake.models.tagger.decoder import (
    add_adapter,
    base_of,
    is_decoder,
    see_both_sides,
    trained_state,
)
from spanlake.models.tagger.encoder import tag_counts
from spanlake.models.tagger.extractor import OnePassTagger
from spanlake.models.tagger.features import feature_count
from spanlake.models.tagger.folder import KIND, checked, load_module, save
from spanlake.models.tagger.module import OnePass, Shape
from spanlake.models.tokenization import WordTokenizer, load_word_tokenizer
from spanlake.training import run_dir
from spanlake.training.examples import examples_of, labelled_texts
from spanlake.training.features import (
    Feature,
    SentenceWindows,
    collate,
    cut_sentences,
    pack_sentences,
)
from spanlake.training.leakage import text_hashes, training_text_hashes
from spanlake.training.tagger_loss import TaggerWithLoss, finetune_relation_head
from spanlake.training.trainer import (
    EpochDataset,
    TokenBudgetTrainer,
    run_trainer,
    strict_scores,
    token_budget_arguments,
)

try:
    import torch
    import transformers
except ImportError:
    raise missing_packages("train") from None

LAYER_NUMBER = re.compile(r"\.(?:layer|layers|albert_layers|block|h)\.(\d+)\.")


def train_tagger(
    notes: Sequence[GoldNote],
    eval_notes: Sequence[GoldNote],
    config: TaggerTrainConfig,
    *,
    export: bool = True,
) -> dict[str, Any]:
    """Train a tagger on `notes` into the folder `config.output_dir`; return its metrics.

    metrics.json gets the same, with the finished extractor's scores on `eval_notes`, on which
    nothing is chosen. A finished folder of the same recipe is left as it is, unless
    `config.resume` is false. Without `export` the graphs for OpenVINO are not written, and the
    model is read with torch. Raises ConfigError where the folder holds a model of another recipe.
    """
    labels, output_dir = load_labels(config.labels), Path(config.output_dir)
    temperatures = read_temperatures(config.calibration, labels)
    recipe = run_dir.recipe_of(config, run_dir.gold_digest(notes), calibration=temperatures)

    transformers.set_seed(config.seed)  # new heads are initialised at random
    module, tokenizer = load_base_model(config.model, labels, config.dropout, config)
    decoder = decoder_details(module, config)
    limit = most_pieces(module.backbone, tokenizer, config.max_tokens)

    work = run_dir.train_or_resume(output_dir, KIND, recipe, resume=config.resume)
    if work is not None:
        examples, data = examples_of(notes)
        texts, counts = labelled_texts(examples, labels, max_pair_distance=config.max_pair_distance)
        sentences = cut_sentences(texts, tokenizer, limit=limit, stride=config.stride)
        twice = decoder.get("attention") == "twice"
        metrics = finetune(
            module,
            sentences,
            tokenizer,
            limit,
            config,
            work,
            config.max_packed_sentences,
            read_twice=twice,
        )
        if run_dir.is_main_process():
            metrics["relation_head_loss_by_epoch"] = finetune_relation_head(
                module,
                pack_sentences(sentences, tokenizer, limit=limit, read_twice=twice),
                tokenizer.pad,
                epochs=config.relation_head_epochs,
                seed=config.seed,
            )
            hashes = text_hashes(notes) | training_text_hashes(config.model)
            details = {
                "longest": limit + tokenizer.specials,
                "context": (config.max_packed_sentences - 1) // 2,  # most neighbours on both sides
                "calibration": temperatures,
                "training": {
                    "recipe": recipe,
                    "training_text_hashes": sorted(hashes),
                    "data": dict(data),
                    **counts,
                    **metrics,
                },
            }
            if decoder:
                details["decoder"] = decoder
            graphs = export and not decoder  # a decoder is read with torch
            save(module, tokenizer, labels, output_dir, details, graphs=graphs)
        run_dir.remove_work(output_dir)

    metrics = dict(read_manifest(output_dir, KIND)["training"])
    if run_dir.is_main_process():
        extractor = OnePassTagger(tagger_config(config)) if eval_notes else None
        metrics["eval"] = strict_scores(eval_notes, extractor) if extractor else None
        run_dir.write_json(output_dir / run_dir.METRICS, metrics)
    return metrics


def tagger_config(config: ModelTrainConfig) -> TaggerConfig:
    """Return the configuration of the trained extractor, which reads sentences without context.

    Context helps in training, not in extraction (docs/experiments.md).
    """
    return run_dir.reading_config(TaggerConfig, config)


def validate_training(notes: Sequence[GoldNote], config: TaggerTrainConfig) -> None:
    """Raise what `train_tagger` would before it begins, for its base model and output folder."""
    labels, output_dir = load_labels(config.labels), Path(config.output_dir)
    temperatures = read_temperatures(config.calibration, labels)
    recipe = run_dir.recipe_of(config, run_dir.gold_digest(notes), calibration=temperatures)
    load_base_model(config.model, labels, config.dropout, config)
    if not run_dir.is_finished(output_dir, KIND, recipe):
        run_dir.check_vacant(output_dir, recipe, resume=config.resume)


def load_base_model(
    model: str, labels: LabelSet, dropout: float, options: TaggerTrainConfig | None = None
) -> tuple[OnePass, WordTokenizer]:
    """Return what training starts from: a backbone with new heads, or a trained tagger as it is.

    `options` say how a decoder is read and what of it is trained. Raises ModelError for a tagger of
    another label set or a checkpoint without weights of a backbone; ConfigError for options of a
    decoder where the model is none.
    """
    folder = find_folder(model)
    if (folder / MANIFEST).is_file():
        tokenizer, module = checked(folder, labels).pieces(), load_module(folder)
        module.shape = replace(module.shape, dropout=dropout)
        module.dropout.p = dropout  # that of the encoder stays
        if module.linker is not None:
            module.linker.dropout.p = dropout
        return module, tokenizer
    decoder = options is not None and is_decoder(folder)
    if options is not None and decoder:
        backbone, missing = _decoder(folder, options), list[str]()
    elif options is not None and (options.lora_rank or options.attention != "full"):
        raise ConfigError(f"{model}: lora_rank and attention are options of decoders only")
    else:
        backbone, missing = load_checkpoint(transformers.AutoModel, folder)
    if missing:
        raise ModelError(f"{folder}: no text encoder: no weights for {', '.join(missing[:4])}")
    shape = Shape(
        tags=tuple(tag_counts(labels)),
        relations=len(labels.relations),
        pair_features=feature_count(labels),
        dropout=dropout,
    )
    return OnePass(backbone, shape), load_word_tokenizer(folder, of_decoder=decoder)


def _decoder(folder: Path, options: TaggerTrainConfig) -> Any:
    device = pick_device("auto") if options.quantization != "none" else "cpu"
    backbone = load_base(folder, options.quantization, device, "fp32").get_decoder()
    see_both_sides(backbone, options.attention)
    if options.lora_rank:
        add_adapter(backbone, _lora(options))
    return backbone


def _lora(options: TaggerTrainConfig) -> dict[str, Any]:
    return {
        "rank": options.lora_rank,
        "alpha": options.lora_alpha,
        "dropout": options.lora_dropout,
    }


def decoder_details(module: OnePass, config: TaggerTrainConfig) -> dict[str, Any]:
    """Return what the manifest says of a decoder as backbone; nothing for an encoder."""
    folder = find_folder(config.model)
    if (folder / MANIFEST).is_file():
        return dict(read_manifest(folder, KIND).get("decoder", {}))
    if not is_decoder(folder):
        return {}
    return {
        "base": base_of(config.model, folder),
        "attention": config.attention,
        "lora": _lora(config) if config.lora_rank else None,
        "quantization": config.quantization,
    }


def read_temperatures(path: str | None, labels: LabelSet) -> dict[str, Any] | None:
    """Return the content of a calibration.json, None for no file.

    Raises ConfigError unless it has a temperature above 0 for each layer and one for pairs.
    """
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        calibration = Calibration(tuple(map(float, content["tags"])), float(content["pairs"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no calibration ({type(error).__name__})") from None
    temperatures = (*calibration.tags, calibration.pairs)
    layers = len(labels.layers)
    if len(calibration.tags) != layers or not all(0 < t < math.inf for t in temperatures):
        raise ConfigError(
            f"{path}: expected {layers} temperatures of tags and one of pairs, above 0"
        )
    return calibration.as_dict()


def finetune(
    module: OnePass,
    sentences: Sequence[SentenceWindows],
    tokenizer: WordTokenizer,
    limit: int,
    options: TaggerOptions,
    work: Path,
    max_packed_sentences: int = 1,
    *,
    read_twice: bool = False,
) -> dict[str, Any]:
    """Train the module on packed sentences; return metrics.

    With `soup_size` above 1 the module gets the mean of the weights of several trainings from the
    same start (arXiv 2203.05482).
    """
    pack = partial(pack_sentences, sentences, tokenizer, limit=limit, read_twice=read_twice)
    start = deepcopy(trained_state(module))
    runs, states = [], []
    for seed in range(options.seed, options.seed + options.soup_size):
        if max_packed_sentences == 1:
            epochs = [pack()]
        else:
            epochs = [
                pack(max_packed_sentences=max_packed_sentences, seed=(seed, epoch))
                for epoch in range(options.epochs)
            ]
        module.load_state_dict(start, strict=False)  # a frozen base stays as it is
        runs.append(_run(module, epochs, tokenizer.pad, options, seed, work / f"seed-{seed}"))
        states.append(deepcopy(trained_state(module)))
    module.load_state_dict(mean_state(states), strict=False)
    return runs[0] if len(runs) == 1 else {"runs": runs}


def _run(
    module: OnePass,
    epochs: Sequence[list[Feature]],
    pad_id: int,
    options: TaggerOptions,
    seed: int,
    work: Path,
) -> dict[str, Any]:
    if not epochs[0]:
        raise DataError("no labelled words in the training notes")
    transformers.set_seed(seed)
    model = TaggerWithLoss(module)
    arguments = token_budget_arguments(
        work,
        epochs=options.epochs,
        max_tokens_per_batch=options.max_tokens_per_batch,
        learning_rate=options.learning_rate,
        bf16=run_dir.uses_bf16(options.precision),
        seed=seed,
    )
    trainer = TokenBudgetTrainer(
        model=model,
        args=arguments,
        data_collator=partial(collate, pad_id=pad_id),
        train_dataset=EpochDataset(epochs),
        optimizers=(torch.optim.AdamW(parameter_groups(module, options), fused=True), None),
    )
    words = sum(int(feature["tags"].any(axis=1).sum()) for feature in epochs[0])
    return run_trainer(trainer, words)


def parameter_groups(module: OnePass, options: TaggerOptions) -> list[dict[str, Any]]:
    """Return AdamW's groups: heads at their own learning rate, the encoder's layers decayed.

    Biases and norms have no weight decay.
    """
    depth = module.backbone.config.num_hidden_layers
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = options.head_learning_rate
        if name.startswith("backbone."):
            layer = LAYER_NUMBER.search(name)
            layers_above = depth - 1 - int(layer[1]) if layer else depth * ("embed" in name)
            rate = options.learning_rate * options.layerwise_lr_decay**layers_above
        decay = 0.0 if parameter.ndim < 2 else options.weight_decay
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def mean_state(states: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of weights; integer buffers are those of the first."""
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }
