"""Training of the `bert` extractor: two token classifiers and a pair classifier in one folder."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spanlake.config.extractors import BertConfig
from spanlake.config.train import BertTrainConfig
from spanlake.core.bio import encode, tag_names, words
from spanlake.core.labels import LabelSet, Layer, load_labels
from spanlake.corpora import GoldNote
from spanlake.errors import DataError
from spanlake.models.batching import pad
from spanlake.models.bert import Bert
from spanlake.models.checkpoints import KIND, PARTS, parts_of
from spanlake.models.loading import (
    file_digests,
    find_folder,
    missing_packages,
    read_manifest,
    write_manifest,
)
from spanlake.models.network import load_weights, most_pieces
from spanlake.models.pairs import candidates, pair_ids
from spanlake.models.tokenization import WordTokenizer, checkpoint_tokenizer, load_word_tokenizer
from spanlake.models.windows import cut, owners
from spanlake.training import run_dir
from spanlake.training.examples import Example, examples_of
from spanlake.training.leakage import text_hashes, training_text_hashes
from spanlake.training.trainer import run_trainer, strict_scores, training_arguments

try:
    import torch
    import transformers
except ImportError:
    raise missing_packages("train") from None

Feature = dict[str, Any]  # input_ids; labels: one per subword for a tagger, one for a pair
IGNORED = -100  # the label that torch's cross entropy ignores
NO_RELATION = "none"
WEIGHT_DECAY = 0.01

log = logging.getLogger(__name__)


def train_bert(
    notes: Sequence[GoldNote], eval_notes: Sequence[GoldNote], config: BertTrainConfig
) -> dict[str, Any]:
    """Train the models that the label set needs into `config.output_dir`; return metrics.

    metrics.json gets the same: loss per epoch, seconds and counts per model, and the finished
    extractor's scores on `eval_notes`, on which nothing is chosen. A finished folder of the same
    recipe is left as it is, unless `config.resume` is false. Raises ConfigError where the folder
    holds a model of another recipe.
    """
    run_dir.require_single_process("kind: bert")
    labels, output_dir = load_labels(config.labels), Path(config.output_dir)
    reading = run_dir.reading_config(
        BertConfig, config, {"max_pair_tokens": config.max_pair_tokens}
    )
    recipe = run_dir.recipe_of(config, run_dir.gold_digest(notes))
    work = run_dir.train_or_resume(output_dir, KIND, recipe, resume=config.resume, parts=PARTS)
    if work is not None:
        examples, data = examples_of(notes)
        models: dict[str, Any] = {}
        for part in (*labels.layers, *(["relation"] if labels.pairs else [])):
            finished = work / f"{part}.json"
            metrics = run_dir.read_json(finished)
            if metrics is None:
                log.info("training the %s model", part)
                metrics = _train_part(part, examples, labels, config, work)
                run_dir.write_json(finished, metrics)
            models[part] = metrics
        hashes = sorted(text_hashes(notes) | training_text_hashes(config.model))
        training = {
            "recipe": recipe,
            "training_text_hashes": hashes,
            "data": dict(data),
            "models": models,
        }
        files = file_digests(parts_of(output_dir))
        write_manifest(output_dir, KIND, labels, {"training": training}, files)
        run_dir.remove_work(output_dir)
    metrics = dict(read_manifest(output_dir, KIND)["training"])
    metrics["eval"] = strict_scores(eval_notes, Bert(reading)) if eval_notes else None
    run_dir.write_json(output_dir / run_dir.METRICS, metrics)
    return metrics


def _train_part(
    part: str, examples: Sequence[Example], labels: LabelSet, config: BertTrainConfig, work: Path
) -> dict[str, Any]:
    """Train and save the token classifier of a layer, or the pair classifier; return metrics."""
    base = find_folder(config.model)
    tokenizer = load_word_tokenizer(base)
    transformers.set_seed(config.seed)  # the new head is initialised at random
    if part == "relation":
        model = load_weights(base, "pairs", pair_classes(labels))
        limit = most_pieces(model, tokenizer, config.max_pair_tokens)
        features, counts = pair_examples(
            examples, tokenizer, labels, limit=limit, max_pair_distance=config.max_pair_distance
        )
        epochs, learning_rate = config.relation_epochs, config.relation_learning_rate
        # Long texts hold distant pairs, mostly unrelated, short ones close pairs: with batches of
        # one length the classifier swings between the two and does not learn.
        sampling = "random"
    else:
        layer: Layer = "main" if part == "main" else "modifier"
        model = load_weights(base, "words", tag_names(labels.labels_of(layer)))
        limit = most_pieces(model, tokenizer, config.max_tokens)
        features, counts = tagged_windows(
            examples, tokenizer, labels, layer, limit=limit, stride=config.stride
        )
        epochs, learning_rate = config.epochs, config.learning_rate
        sampling = "group_by_length"
    if not features:
        raise DataError(f"the notes hold nothing to train {part} on")
    arguments = training_arguments(
        work / part,
        bf16=run_dir.uses_bf16(config.precision),
        seed=config.seed,
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        per_device_train_batch_size=config.batch_size,
        weight_decay=WEIGHT_DECAY,
        train_sampling_strategy=sampling,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        data_collator=partial(collate, pad_id=tokenizer.pad),
        train_dataset=features,
    )
    metrics = run_trainer(trainer, len(features), "examples")
    to = Path(config.output_dir) / part
    shutil.rmtree(to, ignore_errors=True)
    model.save_pretrained(to)
    checkpoint_tokenizer(base).save_pretrained(to)
    return {**counts, **metrics}


def tagged_windows(
    examples: Iterable[Example],
    tokenizer: WordTokenizer,
    labels: LabelSet,
    layer: Layer,
    *,
    limit: int,
    stride: int,
) -> tuple[list[Feature], Counter[str]]:
    """Return a feature per window: the number of its tag at each word's first subword.

    A word in two windows is labelled in the one where the extractor reads it. Counts entities that
    were widened to whole words, and those left out because they overlap a longer one.
    """
    layer_labels = labels.labels_of(layer)
    number = {tag: i for i, tag in enumerate(tag_names(layer_labels))}
    features: list[Feature] = []
    counts: Counter[str] = Counter()
    for example in examples:
        text_words = words(example.text)
        encoded = encode(text_words, example.gold.entities, layer_labels)
        counts["widened"] += encoded.widened
        counts["overlapping"] += encoded.left_out
        text_cut = cut(example.text, text_words, tokenizer, limit=limit, stride=stride)
        owner = owners(text_cut.windows)
        for i, (first, last) in enumerate(text_cut.windows):
            ids: list[int] = []
            targets: list[int] = []
            for word in range(first, last):
                subwords = text_cut.pieces[word]
                target = number[encoded.tags[word]] if owner[word] == i else IGNORED
                ids += subwords
                targets += [target, *[IGNORED] * (len(subwords) - 1)] if subwords else []
            before, after = ([IGNORED] * len(s) for s in (tokenizer.before, tokenizer.after))
            features.append(
                {"input_ids": tokenizer.wrap(ids), "labels": [*before, *targets, *after]}
            )
    return features, counts


def pair_examples(
    examples: Iterable[Example],
    tokenizer: WordTokenizer,
    labels: LabelSet,
    *,
    limit: int,
    max_pair_distance: int,
) -> tuple[list[Feature], Counter[str]]:
    """Return a feature per candidate pair of gold entities, related or not.

    Counts related pairs, all pairs, and gold relations that are no candidates.
    """
    number = {label: i for i, label in enumerate(pair_classes(labels))}
    features: list[Feature] = []
    counts: Counter[str] = Counter()
    for example in examples:
        text_words, entities = words(example.text), example.gold.entities
        related = {(r.head, r.tail): number[r.label] for r in example.gold.relations}
        pairs = candidates(text_words, entities, labels, max_pair_distance)
        counts["pairs"] += len(pairs)
        counts["pairs_related"] += len(related.keys() & set(pairs))
        counts["relations_no_candidate"] += len(related.keys() - set(pairs))
        for head, tail in pairs:
            spans = entities[head].span, entities[tail].span
            ids = tokenizer.wrap(pair_ids(example.text, text_words, spans, tokenizer, limit))
            features.append({"input_ids": ids, "labels": related.get((head, tail), 0)})
    return features, counts


def pair_classes(labels: LabelSet) -> tuple[str, ...]:
    """Return the pair classifier's classes: no relation first, then the relation labels."""
    return (NO_RELATION, *labels.relations)


def collate(features: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, Any]:
    """Return a padded batch of tensors."""
    ids, mask = pad([feature["input_ids"] for feature in features], pad_id)
    targets = [feature["labels"] for feature in features]
    labels = np.array(targets) if isinstance(targets[0], int) else pad(targets, IGNORED)[0]
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(values) for name, values in batch.items()}
