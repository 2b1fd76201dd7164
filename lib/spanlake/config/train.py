"""Recipes of `jobs/train.py`: annotated notes (brat folders) into a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from spanlake.config.base import read_values
from spanlake.config.extract import Model, load_config
from spanlake.errors import ConfigError


class Recipe(Model):
    """What every recipe says: from which checkpoint, to which folder, and how texts are cut."""

    model: str
    to: str
    labels: str = "kiwi"
    max_tokens: int = Field(256, ge=16, le=8192)
    stride: int = Field(64, ge=0)
    max_pair_words: int = Field(20, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 42
    resume: bool = True

    @model_validator(mode="after")
    def _windows_move_on(self) -> Recipe:
        if self.stride * 2 >= self.max_tokens:
            raise ValueError("stride must be less than half of max_tokens")
        return self


class TrainConfig(Recipe):
    """A recipe over annotated notes.

    `train` may be several folders; `dev` is scored and never learnt.
    """

    train: str | tuple[str, ...]
    dev: str | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of `train`."""
        return _paths(self.train)


def _paths(named: str | tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(Path(name) for name in ((named,) if isinstance(named, str) else named))


class BertTrainConfig(TrainConfig):
    """Three models over one checkpoint: main, modifier and pair classifier."""

    kind: Literal["bert"] = "bert"
    epochs: int = Field(4, ge=1)
    relation_epochs: int = Field(4, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    relation_learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    max_pair_tokens: int = Field(48, ge=16)


class TaggerOptions(Model):
    """How a tagger learns. Rates are those of the backbone's last layer and of the fresh heads.

    `layer_decay` multiplies the rate from each layer to the one below it; of several `runs` from
    one start, by `seed` and those that follow it, the mean of the weights is saved; `batch_tokens`
    counts padding; `link_epochs` is how often the linker, which goes on learning by itself in the
    end, sees all pairs; `calibration` is a file of temperatures that jobs/crossvalidate.py fitted
    by the same recipe.
    """

    epochs: int = Field(12, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    head_learning_rate: float = Field(1e-3, gt=0)
    layer_decay: float = Field(0.9, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    batch_tokens: int = Field(768, ge=16)
    runs: int = Field(1, ge=1, le=16)
    link_epochs: int = Field(30, ge=0)
    calibration: str | None = None


class TaggerTrainConfig(TaggerOptions, TrainConfig):
    """One model for all. `model` is an encoder, or a tagger of ours, whose heads are kept.

    One to `together` sentences of a note are learnt as one text, other ones each epoch.
    """

    kind: Literal["tagger"] = "tagger"
    together: int = Field(1, ge=1, le=17)


class UnlabelledNotes(Model):
    """Notes without annotation: `notes` is a file of `read_mtsamples`.

    `leave_out` is a tab-separated table whose column `note_id` names notes that are not read. Of
    more than `most_notes`, as many are drawn, always the same.
    """

    notes: str
    leave_out: str | None = None
    most_notes: int | None = Field(None, ge=1)


class DistilConfig(TaggerOptions, UnlabelledNotes, Recipe):
    """`jobs/distil.py`: a student learns what an ensemble of taggers says of unannotated notes."""

    teachers: tuple[str, ...] = Field(min_length=1)
    epochs: int = Field(2, ge=1)
    batch_tokens: int = Field(1536, ge=16)


class MaskedTrainConfig(UnlabelledNotes):
    """`jobs/pretrain.py`: an encoder guesses the share `masked` of the notes' words."""

    model: str
    to: str
    epochs: int = Field(2, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    masked: float = Field(0.15, gt=0, lt=1)
    max_tokens: int = Field(128, ge=16, le=8192)
    batch_tokens: int = Field(2048, ge=16)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 42
    resume: bool = True


KINDS: dict[str, type[TrainConfig]] = {"bert": BertTrainConfig, "tagger": TaggerTrainConfig}


def load_train_config(path: str | Path | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Load a recipe of the kind that it names (bert when it names none).

    Raises ConfigError as `load_config` does, and for an unknown kind.
    """
    kind = read_values(path, overrides).get("kind", "bert")
    if kind not in KINDS:
        raise ConfigError(f"{path}: kind is {kind!r}; known: {', '.join(KINDS)}")
    return load_config(KINDS[kind], path, overrides)
