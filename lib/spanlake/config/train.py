"""Configurations of trainings: `jobs/train.py`, `jobs/crossvalidate.py` and `jobs/distil.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from spanlake.config.base import Model, load_config, read_values, refuse_old_keys
from spanlake.errors import ConfigError

RENAMED_KEYS = {
    "batch_tokens": "max_tokens_per_batch",
    "dev": "eval_data",
    "layer_decay": "layerwise_lr_decay",
    "leave_out": "exclude_ids_file",
    "link_epochs": "relation_head_epochs",
    "masked": "mlm_probability",
    "max_pair_words": "max_pair_distance",
    "most_notes": "max_notes",
    "runs": "soup_size",
    "to": "output_dir",
    "together": "max_packed_sentences",
    "train": "train_data",
}
REMOVED_KEYS = (  # options that measured no gain: docs/experiments.md
    "annotators",
    "auxiliary",
    "auxiliary_share",
    "mixed_layers",
    "piece_dropout",
    "weight_average",
)


class RunConfig(Model):
    """What every training has: a checkpoint to start from, an output folder, a seed."""

    model: str = Field(
        description="Hugging Face checkpoint to start from, by path or by a name that was"
        " downloaded before; for a tagger also a trained tagger. `{fold}` stands for the number of"
        " the fold in cross-validation."
    )
    output_dir: str = Field(description="Folder of the trained model.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="`auto` takes bf16 where the processor gains from it."
    )
    seed: int = Field(42, description="Seed of all random numbers.")
    resume: bool = Field(
        True,
        description="Resume a training with the same configuration from its last epoch; a finished"
        " model of another configuration is refused. `false`: overwrite whatever is there.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_keys(cls, values: Any) -> Any:
        return refuse_old_keys(values, RENAMED_KEYS, REMOVED_KEYS)


class ModelTrainConfig(RunConfig):
    """What a training of an extractor has: a label set, and how texts are cut."""

    labels: str = Field("kiwi", description="Label set: a bundled one, or a path to a `.yml`.")
    max_tokens: int = Field(256, ge=16, le=8192, description="Size of a window in subwords.")
    stride: int = Field(
        64, ge=0, description="Overlap of windows in subwords; less than half of `max_tokens`."
    )
    max_pair_distance: int = Field(
        20,
        ge=1,
        description="Entities farther apart, in words, are no candidates for a relation, except"
        " for labels in `far_reaching` of the label set.",
    )

    @model_validator(mode="after")
    def _windows_advance(self) -> ModelTrainConfig:
        if self.stride * 2 >= self.max_tokens:
            raise ValueError("stride must be less than half of max_tokens")
        return self


class TrainConfig(ModelTrainConfig):
    """`spanlake train` and `jobs/train.py` train a model on annotated notes.

    `spanlake crossvalidate` and `jobs/crossvalidate.py` take the same configuration, with
    `kind: tagger`.
    """

    train_data: str | tuple[str, ...] = Field(
        description="Brat folder (`NAME.txt` with `NAME.ann`), or a list of them."
    )
    eval_data: str | None = Field(
        None, description="Brat folder that is scored at the end and never trained on."
    )

    @property
    def train_folders(self) -> tuple[Path, ...]:
        """The folders of `train_data`."""
        names = (self.train_data,) if isinstance(self.train_data, str) else self.train_data
        return tuple(map(Path, names))


class BertTrainConfig(TrainConfig):
    """Three models over one checkpoint: main, modifier and pair classifier."""

    kind: Literal["bert"] = Field("bert", description="The default.")
    epochs: int = Field(4, ge=1, description="Epochs of each of the two taggers.")
    relation_epochs: int = Field(4, ge=1, description="Epochs of the pair classifier.")
    learning_rate: float = Field(3e-4, gt=0, description="Peak learning rate of the taggers.")
    relation_learning_rate: float = Field(
        1e-4, gt=0, description="Peak learning rate of the pair classifier."
    )
    batch_size: int = Field(32, ge=1, description="Examples per step.")
    max_pair_tokens: int = Field(48, ge=16, description="Subwords that the pair classifier sees.")


class TaggerOptions(ModelTrainConfig):
    """Hyperparameters of a tagger's training."""

    epochs: int = Field(12, ge=1, description="Epochs.")
    learning_rate: float = Field(
        3e-4, gt=0, description="Peak learning rate of the encoder's last layer."
    )
    head_learning_rate: float = Field(
        1e-3, gt=0, description="Peak learning rate of the classification heads."
    )
    layerwise_lr_decay: float = Field(
        0.9, gt=0, le=1, description="Factor of the learning rate from each layer to the one below."
    )
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout before the heads.")
    max_tokens_per_batch: int = Field(
        768, ge=16, description="Subwords per step, padding included."
    )
    soup_size: int = Field(
        1,
        ge=1,
        le=16,
        description="Number of trainings from one start, with consecutive seeds; the mean of their"
        " weights is saved (arXiv 2203.05482).",
    )
    relation_head_epochs: int = Field(
        30,
        ge=0,
        description="Epochs of the relation head alone over the finished encoder; 0 leaves it as"
        " the joint training made it.",
    )
    calibration: str | None = Field(
        None,
        description="A `calibration.json` written by `jobs/crossvalidate.py`: temperatures to save"
        " with the model.",
    )


class TaggerTrainConfig(TaggerOptions, TrainConfig):
    """One model for entities and relations over one encoder."""

    kind: Literal["tagger"] = Field(
        "tagger", description="Required; without it the kind is `bert`."
    )
    attention: Literal["full", "upper", "causal", "twice"] = Field(
        "full",
        description="Of a decoder language model: what a word sees. `full`: both sides in all"
        " layers; `upper`: in the upper half; `causal`: nothing that follows; `twice`: as causal,"
        " with the text read twice.",
    )
    lora_rank: int | None = Field(
        None, ge=1, description="Of a decoder: rank of an adapter over the frozen base."
    )
    lora_alpha: int = Field(32, ge=1, description="Scale of the adapter, times its rank.")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the adapter.")
    quantization: Literal["none", "nf4"] = Field(
        "none", description="Of a decoder's frozen base; `nf4` takes lora_rank."
    )
    max_packed_sentences: int = Field(
        1,
        ge=1,
        le=17,
        description="Sentence packing: up to this many consecutive sentences of a note form one"
        " training example, drawn anew each epoch.",
    )

    @model_validator(mode="after")
    def _quantized_base_is_frozen(self) -> TaggerTrainConfig:
        if self.quantization != "none" and self.lora_rank is None:
            raise ValueError("a quantized base is frozen: give lora_rank")
        return self


class LlamaTrainConfig(TrainConfig):
    """An adapter (LoRA) over a causal language model that writes entities and relations."""

    kind: Literal["llama_markup", "llama_bio"] = Field(description="Format of the answers.")
    max_tokens: int = Field(
        512, ge=16, le=8192, description="Tokens of a text that are read at once."
    )
    prompt: Literal["short", "instruct"] = Field(
        "short", description="`instruct` explains the task with the definitions of the labels."
    )
    quantization: Literal["auto", "none", "nf4"] = Field(
        "auto", description="Of the base. `auto`: NF4 on a GPU (QLoRA), none on a CPU."
    )
    lora_rank: int = Field(16, ge=1, description="Rank of the adapter.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the adapter, times its rank.")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Dropout before the adapter.")
    epochs: int = Field(3, ge=1, description="Epochs.")
    max_steps: int | None = Field(
        None,
        ge=1,
        description="Steps to train, instead of epochs. The learning-rate schedule ends with them.",
    )
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    max_tokens_per_batch: int = Field(
        2048, ge=16, description="Tokens per forward pass, padding included."
    )
    gradient_accumulation: int = Field(1, ge=1, description="Batches per step.")
    activation_checkpointing: bool = Field(
        False, description="Compute activations twice instead of keeping them: less GPU memory."
    )
    save_steps: int = Field(100, ge=1, description="Steps between checkpoints to resume from.")


class UnlabelledNotes(Model):
    """Notes without annotation."""

    notes: str = Field(description="JSON lines of notes without annotation (MTSamples).")
    exclude_ids_file: str | None = Field(
        None, description="Tab-separated table whose column `note_id` names notes to leave out."
    )
    max_notes: int | None = Field(
        None, ge=1, description="Number of notes to draw if there are more; always the same ones."
    )


class DistilConfig(TaggerOptions, UnlabelledNotes):
    """`spanlake distil` and `jobs/distil.py` train a student tagger on notes without annotation.

    The targets are the probabilities of an ensemble of taggers.
    """

    teachers: tuple[str, ...] = Field(
        min_length=1, description="Model folders of the teachers; their mean is the target."
    )
    epochs: int = Field(2, ge=1, description="Epochs.")
    max_tokens_per_batch: int = Field(
        1536, ge=16, description="Subwords per step, padding included."
    )


KINDS: dict[str, type[TrainConfig]] = {
    "bert": BertTrainConfig,
    "tagger": TaggerTrainConfig,
    "llama_markup": LlamaTrainConfig,
    "llama_bio": LlamaTrainConfig,
}


def load_train_config(path: str | Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Load the configuration of a training of the kind that it names (default: bert).

    Raises ConfigError as `load_config` does, and for an unknown kind.
    """
    kind = read_values(path, overrides).get("kind", "bert")
    if kind not in KINDS:
        raise ConfigError(f"{path}: kind is {kind!r}; known: {', '.join(KINDS)}")
    return load_config(KINDS[kind], path, overrides)
