"""The section `extractor` of a configuration: one class per kind of model, chosen by its `kind`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, TypeAdapter, model_validator

from spanlake.config.base import Model, refuse_old_keys
from spanlake.core.labels import is_path

RENAMED_KEYS = {"batch_tokens": "max_tokens_per_batch", "max_pair_words": "max_pair_distance"}
PATHS = ("model", "base", "main", "modifier", "relation")
Self = TypeVar("Self", bound="AnyExtractor")


class AnyExtractor(Model):
    """Keys of every kind. Device and batch size never change an answer; of a language
    model in bfloat16 or 4 bits, two ids that tie may fall either way."""

    labels: str = Field("kiwi", description="Label set: a bundled one, or a path to a `.yml`.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="`auto`: a GPU if torch finds one and the model has weights for it"
        " (`model.safetensors`; the bundled `small` has weights for a CPU alone).",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="`auto` takes bf16 where the processor gains from it."
    )
    max_tokens_per_batch: int = Field(
        4096, ge=16, description="Subwords per batch, padding included."
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_keys(cls, values: Any) -> Any:
        return refuse_old_keys(values, RENAMED_KEYS)

    def located(self: Self) -> Self:
        """Return the same with absolute paths: executors do not run in the driver's folder."""
        changed: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, AnyExtractor):
                changed[name] = value.located()
            elif name == "models" and value:
                changed[name] = tuple(map(_absolute, value))
            elif (name in PATHS and value) or (name == "labels" and is_path(value)):
                changed[name] = _absolute(value)
        return self.model_copy(update=changed)

    @property
    def needed_context(self) -> int:
        """How many sentences on each side of a target the model sees as well."""
        return 0


def _absolute(name: str) -> str:
    """Return the absolute path of a file or folder; a Hugging Face name stays what it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() or is_path(name) else name


class DictionaryConfig(AnyExtractor):
    """Terms of a lexicon: the baseline that needs no training."""

    kind: Literal["dictionary"] = Field(
        "dictionary", description="Required; without it the kind is `tagger`."
    )


class WindowsConfig(AnyExtractor):
    """How a text that is longer than a model's window is read, and which entities are paired."""

    max_tokens: int = Field(
        256,
        ge=16,
        le=8192,
        description="Size of a window in subwords. The model's own limit caps it; that of a tagger"
        " is the window of its training.",
    )
    stride: int = Field(
        64, ge=0, description="Overlap of windows in subwords; less than half of `max_tokens`."
    )
    max_pair_distance: int = Field(
        20,
        ge=1,
        description="Entities farther apart, in words, are no candidates for a relation, except"
        " for labels in `far_reaching` of the label set (negation, uncertainty, subject, time in"
        " `kiwi`).",
    )
    pair_threshold: float = Field(
        0.5, ge=0, le=1, description="Least probability of a relation between two given entities."
    )

    @model_validator(mode="after")
    def _windows_advance(self: Self) -> Self:
        if getattr(self, "stride", 0) * 2 >= getattr(self, "max_tokens", 1):
            raise ValueError("extractor.stride must be less than half of extractor.max_tokens")
        return self


class BertConfig(WindowsConfig):
    """Kiwi-BERT's shape: two token classifiers and a pair classifier."""

    kind: Literal["bert"] = Field("bert", description="Required; without it the kind is `tagger`.")
    model: str | None = Field(
        None, description="Folder of a trained model. Either this, or any of the next three."
    )
    main: str | None = Field(
        None,
        description="Checkpoint for main entities, by path or by a name that was downloaded"
        " before.",
    )
    modifier: str | None = Field(None, description="Checkpoint for modifiers.")
    relation: str | None = Field(None, description="Checkpoint for relations.")
    label_map: dict[str, str] = Field(
        default_factory=dict, description="Classes of a checkpoint to labels of the label set."
    )
    max_pair_tokens: int = Field(48, ge=16, description="Subwords that the pair classifier sees.")

    @model_validator(mode="after")
    def _has_a_model(self) -> BertConfig:
        parts = (self.main, self.modifier, self.relation)
        if not self.model and not any(parts):
            raise ValueError("bert needs extractor.model (a trained folder), or main and others")
        if self.model and any(parts):
            raise ValueError("give extractor.model, or main/modifier/relation, not both")
        return self


class Temperatures(Model):
    """Temperatures of a tagger: its logits are divided by them.

    `jobs/crossvalidate.py` fits them. Those of a configuration replace the model's own.
    """

    tags: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        description="One temperature per layer: main, then modifier."
    )
    pairs: float = Field(1.0, gt=0, description="Temperature of relations.")


class TaggerConfig(WindowsConfig):
    """One encoder that reads entities and relations in one pass; by default the bundled one."""

    kind: Literal["tagger"] = Field("tagger", description="The default.")
    model: str | None = Field(
        None, description="Folder of a trained model. Default: the bundled `small`."
    )
    models: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Folders of an ensemble, instead of `model`. Its probabilities are the means of"
        " its members'.",
    )
    context: int = Field(
        0,
        ge=0,
        le=8,
        description="Sentences on each side that the model sees as well. Equal sentences with"
        " different neighbours are then read separately.",
    )
    entity_threshold: float = Field(0.4, ge=0, le=1, description="Least probability of an entity.")
    relation_threshold: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Least probability that a relation and both of its entities are right.",
    )
    calibration: Temperatures | None = Field(
        None,
        description="Temperatures instead of the model's own, for instance the content of a"
        " `calibration.json` of `jobs/crossvalidate.py`. Default of an ensemble: the means of its"
        " members'.",
    )

    @property
    def needed_context(self) -> int:
        return self.context

    @model_validator(mode="after")
    def _one_or_many(self) -> TaggerConfig:
        if self.models and self.model:
            raise ValueError("extractor.models is an ensemble of taggers, and excludes model")
        return self


class LlamaConfig(AnyExtractor):
    """A decoder language model that writes its answer: as mark-up of the text, or as BIO lines."""

    kind: Literal["llama_markup", "llama_bio"] = Field(description="Format of the answers.")
    model: str = Field(
        description="Folder of a trained model, or any Hugging Face checkpoint of a causal"
        " language model, by path or by a name that was downloaded before."
    )
    base: str | None = Field(
        None, description="Where the base of a trained model is, if not where it was trained from."
    )
    quantization: Literal["auto", "none", "nf4", "int8"] = Field(
        "auto", description="Of the weights. `auto`: as in training; `none` for a checkpoint."
    )
    prompt: Literal["auto", "instruct", "short"] = Field(
        "auto", description="`auto`: as in training; `instruct` for a checkpoint."
    )
    engine: Literal["torch", "vllm"] = Field(
        "torch",
        description="What runs the model. `vllm` needs an environment of its own, and has not been"
        " run.",
    )
    constrained: bool = Field(
        True,
        description="Score only ids that continue a legal answer. `false` (for comparison): the"
        " model may alter the text, and its output after an alteration is not used.",
    )
    draft: Literal["copy", "none"] | TaggerConfig | DictionaryConfig | BertConfig = Field(
        "copy",
        description="What the model verifies. `copy`: the text without entities. `none`: nothing,"
        " an id at a time. A section such as `{kind: tagger}`: the answers of another extractor.",
    )
    draft_threshold: float = Field(
        0.5, ge=0, le=1, description="Entities of a draft below this score are not drafted."
    )
    max_tokens: int = Field(
        512, ge=16, le=8192, description="Tokens of a text that are read at once."
    )


class CascadeConfig(AnyExtractor):
    """The first extractor reads all texts, the second those of low confidence.

    `labels` must be the same in the cascade and in both of its sections.
    """

    kind: Literal["cascade"] = Field(
        "cascade", description="Required; without it the kind is `tagger`."
    )
    first: TaggerConfig = Field(
        TaggerConfig(), description="A cheap extractor: keys of `kind: tagger`."
    )
    second: LlamaConfig = Field(
        description="An accurate extractor: keys of `kind: llama_markup` or `llama_bio`."
    )
    confidence_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Texts with less confidence go to the second. Either this or `llm_share` is"
        " required.",
    )
    llm_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Instead of a threshold: the share of texts for the second. The threshold is"
        " then that of this share of the sentences of the bundled notes.",
    )

    @property
    def needed_context(self) -> int:
        return self.first.context

    @model_validator(mode="after")
    def _consistent(self) -> CascadeConfig:
        if (self.confidence_threshold is None) == (self.llm_share is None):
            raise ValueError("a cascade takes confidence_threshold or llm_share, one of them")
        if {self.first.labels, self.second.labels} != {self.labels}:
            raise ValueError("labels must be the same for the cascade, first and second")
        return self


def _kind_of(value: Any) -> Any:
    return (
        value.get("kind", "tagger") if isinstance(value, dict) else getattr(value, "kind", "tagger")
    )


ExtractorConfig = Annotated[
    Annotated[DictionaryConfig, Tag("dictionary")]
    | Annotated[BertConfig, Tag("bert")]
    | Annotated[TaggerConfig, Tag("tagger")]
    | Annotated[LlamaConfig, Tag("llama_markup")]
    | Annotated[LlamaConfig, Tag("llama_bio")]
    | Annotated[CascadeConfig, Tag("cascade")],
    Discriminator(_kind_of),
]
ADAPTER: TypeAdapter[ExtractorConfig] = TypeAdapter(ExtractorConfig)


def extractor_config(**values: Any) -> ExtractorConfig:
    """Return the configuration of an extractor; raises ConfigError for what is wrong in it."""
    return ADAPTER.validate_python(values)
