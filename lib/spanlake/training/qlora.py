"""Training of a language model: an adapter over a frozen base, on the answers alone.

QLoRA (arXiv 2305.14314) on a GPU: the base in 4 bits, its adapter (LoRA, arXiv 2106.09685) in
bfloat16. On a CPU the base is float32. Prompts and answers are made by the code that reads them
later (`models.llama`), as token ids.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spanlake.config.extractors import LlamaConfig
from spanlake.config.train import LlamaTrainConfig
from spanlake.core.bio import encode, words
from spanlake.core.labels import load_labels
from spanlake.core.types import Entity, Span
from spanlake.corpora import GoldNote
from spanlake.errors import DataError
from spanlake.models.batching import pad
from spanlake.models.devices import pick_device
from spanlake.models.llama.extractor import LlamaExtractor, Window, windows_of
from spanlake.models.llama.loading import (
    ADAPTER_FILES,
    load_base,
)
from spanlake.models.llama.markup import Answer, Ids, WordSpan
from spanlake.models.llama.prompts import Prompts, Task, attribute_tag
from spanlake.models.loading import (
    file_digests,
    find_folder,
    missing_packages,
    read_manifest,
    write_manifest,
)
from spanlake.models.tagger.decoder import base_of
from spanlake.models.tokenization import checkpoint_tokenizer
from spanlake.training import run_dir
from spanlake.training.examples import Example, examples_of
from spanlake.training.leakage import text_hashes
from spanlake.training.trainer import (
    EpochDataset,
    TokenBudgetTrainer,
    run_trainer,
    strict_scores,
    token_budget_arguments,
)

try:
    import peft
    import torch
    import transformers
    from torch.nn.functional import cross_entropy
except ImportError:
    raise missing_packages("llama", "peft") from None

IGNORED = -100  # the label of what is not an answer

Feature = dict[str, Any]  # input_ids, labels

log = logging.getLogger(__name__)


def train_llama(
    notes: Sequence[GoldNote], eval_notes: Sequence[GoldNote], config: LlamaTrainConfig
) -> dict[str, Any]:
    """Train an adapter on `notes` into the folder `config.output_dir`; return its metrics.

    metrics.json gets the same, with the scores on `eval_notes`, on which nothing is chosen. A
    finished folder of the same recipe is left as it is, unless `config.resume` is false. A killed
    training resumes from its last checkpoint. Raises ConfigError where the folder holds a model of
    another recipe.
    """
    run_dir.require_single_process(f"kind: {config.kind}")
    labels, output_dir = load_labels(config.labels), Path(config.output_dir)
    quantization = config.quantization
    if quantization == "auto":
        quantization = "nf4" if pick_device("auto") != "cpu" else "none"
    recipe = run_dir.recipe_of(
        config, run_dir.gold_digest(notes), quantization=quantization, peft=peft.__version__
    )
    work = run_dir.train_or_resume(output_dir, config.kind, recipe, resume=config.resume)
    if work is not None:
        base = find_folder(config.model)
        tokenizer = checkpoint_tokenizer(base, add_prefix_space=False)
        prompts = Prompts(tokenizer, labels, config.kind, config.prompt)
        examples, data = examples_of(notes)
        features, counts = answers_of(examples, prompts, config.max_tokens)
        if not features:
            raise DataError("the notes hold no sentences to train on")
        log.info("%d answers of %d sentences", len(features), len(examples))
        transformers.set_seed(config.seed)
        model = _with_adapter(
            load_base(base, quantization, pick_device("auto"), config.precision), config
        )
        metrics = _train(model, features, tokenizer, config, work)
        _save_adapter(model, output_dir)
        metrics |= {"recipe": recipe, "data": dict(data), "answers": dict(counts)}
        metrics["training_text_hashes"] = sorted(text_hashes(notes))
        details = {
            "base": base_of(config.model, base),
            "quantization": quantization,
            "prompt": config.prompt,
            "training": metrics,
        }
        digests = file_digests({"": output_dir})
        files = {name: digests[name] for name in ADAPTER_FILES}
        write_manifest(output_dir, config.kind, labels, details, files)
        run_dir.remove_work(output_dir)
    metrics = dict(read_manifest(output_dir, config.kind)["training"])
    extractor = LlamaExtractor(_reading(config)) if eval_notes else None
    metrics["eval"] = strict_scores(eval_notes, extractor) if extractor else None
    run_dir.write_json(output_dir / run_dir.METRICS, metrics)
    return metrics


def _reading(config: LlamaTrainConfig) -> LlamaConfig:
    return run_dir.reading_config(LlamaConfig, config, {"kind": config.kind})


def answers_of(
    examples: Iterable[Example], prompts: Prompts, max_tokens: int
) -> tuple[list[Feature], Counter[str]]:
    """Return prompts with their answers as ids, and how many there are of each kind.

    Each sentence has an answer for its entities, and one for each entity that may have attributes.
    """
    features: list[Feature] = []
    counts: Counter[str] = Counter()
    for example in examples:
        text_words = words(example.text)
        for window in windows_of(example.text, text_words, prompts, max_tokens):
            for task, prompt, spans, kind in _tasks(example, text_words, window, prompts):
                features.append(_feature(prompts, task, window, prompt, spans))
                counts[kind] += 1
    return features, counts


def _tasks(
    example: Example, text_words: Sequence[Span], window: Window, prompts: Prompts
) -> Iterator[tuple[Task, Ids, list[WordSpan], str]]:
    """Yield each task about a window with the ids of its source, and what the answer marks."""
    entities, labels = example.gold.entities, prompts.labels
    for layer, task in prompts.entity_tasks.items():
        spans = gold_spans(text_words, entities, labels.labels_of(layer))
        yield task, window.source.ids, window.within(spans), f"{layer} entities"
    for i, entity in enumerate(entities):
        marked = window.within(gold_spans(text_words, [entity], [entity.label]))
        if entity.label not in prompts.attribute_tasks or not marked:
            continue
        task = prompts.attribute_tasks[entity.label]
        tails = [
            _relabelled(entities[r.tail], attribute_tag(labels, entities[r.tail].label, r.label))
            for r in example.gold.relations
            if r.head == i
        ]
        spans = gold_spans(text_words, tails, task.labels)
        prompt = prompts.marked(window.source, marked[0].first, marked[0].end, entity.label)
        yield task, prompt, window.within(spans), f"attributes of {entity.label}"


def _relabelled(entity: Entity, label: str) -> Entity:
    return Entity(entity.span, label, entity.text)


def gold_spans(
    text_words: Sequence[Span], entities: Iterable[Entity], names: Iterable[str]
) -> list[WordSpan]:
    """Return entities as ranges of words, without overlaps (`core.bio.encode`)."""
    spans: list[WordSpan] = []
    for i, tag in enumerate(encode(text_words, entities, names).tags):
        if tag.startswith("B-"):
            spans.append(WordSpan(i, i + 1, tag[2:]))
        elif tag.startswith("I-"):
            spans[-1] = spans[-1]._replace(end=i + 1)
    return spans


def _feature(
    prompts: Prompts, task: Task, window: Window, prompt: Ids, spans: Sequence[WordSpan]
) -> Feature:
    before = [*task.prefix, *prompt, *task.suffix]
    answer = Answer(prompts.answer_format(task, window.source, window.bare_words)).draft(spans)
    return {
        "input_ids": [*before, *answer],
        "labels": [*[IGNORED] * len(before), *answer],
    }


def _with_adapter(model: Any, config: LlamaTrainConfig) -> Any:
    if getattr(model, "is_quantized", False):
        model = peft.prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=config.activation_checkpointing
        )
    elif config.activation_checkpointing:
        model.enable_input_require_grads()
    options = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, options)


class AnswerTrainer(TokenBudgetTrainer):
    """The Trainer with the loss of the answers: the LM head scores their positions alone.

    With a vocabulary of 128,000 ids the scores of all positions would take most of the memory.
    """

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        language_model = self.accelerator.unwrap_model(model).get_base_model()
        states = language_model.get_decoder()(input_ids=inputs["input_ids"]).last_hidden_state
        targets = inputs["labels"][:, 1:]  # [batch, length - 1]
        answered = targets != IGNORED
        logits = language_model.get_output_embeddings()(states[:, :-1][answered])
        return cross_entropy(logits.float(), targets[answered])  # of [positions, vocabulary]


def _train(
    model: Any, features: list[Feature], tokenizer: Any, config: LlamaTrainConfig, work: Path
) -> dict[str, Any]:
    on_gpu = pick_device("auto") != "cpu"
    arguments = token_budget_arguments(
        work,
        epochs=config.epochs,
        max_tokens_per_batch=config.max_tokens_per_batch,
        learning_rate=config.learning_rate,
        bf16=run_dir.uses_bf16(config.precision),
        seed=config.seed,
        weight_decay=config.weight_decay,
        gradient_accumulation_steps=config.gradient_accumulation,
        **_checkpointing(config.activation_checkpointing),
        optim="paged_adamw_8bit" if on_gpu else "adamw_torch",
        max_steps=config.max_steps or -1,
        logging_strategy="steps",
        logging_steps=min(50, config.save_steps),
        save_strategy="steps",
        save_steps=config.save_steps,
    )
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        data_collator=partial(_collate, pad_id=tokenizer.pad_token_id or 0),
        train_dataset=EpochDataset([features]),
    )
    trainer.model_accepts_loss_kwargs = False  # our loss is a mean over a batch
    metrics = run_trainer(trainer, len(features), "answers")
    metrics["epochs"] = round(trainer.state.epoch or 0.0, 3)
    return metrics


def _checkpointing(on: bool) -> dict[str, bool]:
    """Return the Trainer's argument, which transformers 5.24 has renamed."""
    names = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    new, old = "activation_checkpointing", "gradient_checkpointing"
    return {new if new in names else old: on}


def _collate(features: Sequence[Feature], pad_id: int) -> dict[str, Any]:
    """Return a batch padded on the right: no real id attends to what stands after it."""
    ids, _ = pad([feature["input_ids"] for feature in features], pad_id)
    labels, _ = pad([feature["labels"] for feature in features], IGNORED)
    return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}


def _save_adapter(model: Any, output_dir: Path) -> None:
    """Write the adapter alone; PEFT's README of it is not kept."""
    model.save_pretrained(output_dir, safe_serialization=True)
    (output_dir / "README.md").unlink(missing_ok=True)
