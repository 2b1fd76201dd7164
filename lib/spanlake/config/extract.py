"""Configurations: YAML files checked by pydantic on the driver, before Spark starts.

A file holds exactly one job's configuration. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from spanlake.config.base import codec_of, explained, read_values, refuse_old_keys
from spanlake.core.labels import is_path
from spanlake.core.types import NOTE_COLUMNS
from spanlake.errors import ConfigError


class Model(BaseModel):
    """Base of every section: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TablesConfig(Model):
    """Where the tables are: a folder (local, S3, ADLS ...) or a schema of the catalog."""

    location: str | None = None
    database: str | None = Field(None, alias="schema")  # `schema` is taken by pydantic
    lease_dir: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> TablesConfig:
        if (self.location is None) == (self.database is None):
            raise ValueError("give either tables.location (a folder) or tables.schema")
        return self


class Expression(Model):
    """SQL on the source's own columns that gives one of ours."""

    sql: str


# The shell and YAML take some characters for themselves: of a | alone a file's makes an empty text.
CHARACTERS = {"tab": "\t", "\\t": "\t", "pipe": "|", "": "|"}


class SourceConfig(Model):
    """Where notes come from, and which of its columns is which of ours.

    `delimiter`, `quote` and `escape` are those of CSV, one character each: without an `escape` a
    quote inside a quoted field is doubled, without a `quote` it is a character like others.
    """

    format: Literal["csv", "jsonl", "parquet", "delta", "text", "omop"]
    path: str | None = None
    table: str | None = None
    columns: dict[str, str | Expression] = Field(default_factory=dict)
    where: str | None = None
    encoding: str = "UTF-8"
    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    replacement_characters: Literal["refuse", "keep"] = "refuse"

    @field_validator("encoding")
    @classmethod
    def _exists(cls, encoding: str) -> str:
        if codec_of(encoding) in ("utf-7", "unicode_escape", "raw_unicode_escape"):
            raise ValueError(f"{encoding} can spell halves of UTF-16 pairs: convert to UTF-8")
        return encoding

    @field_validator("delimiter", "quote", "escape", mode="before")
    @classmethod
    def _one_character(cls, given: Any, info: ValidationInfo) -> Any:
        if given in (None, "") and info.field_name != "delimiter":
            return None
        character = CHARACTERS.get(given, given) if isinstance(given, str) else given
        if not isinstance(character, str) or len(character) != 1 or character in "\r\n":
            raise ValueError(
                f"one character is expected (or tab, or pipe), found {character!r}; in a"
                " file YAML needs quotes round some: \"'|'\""
            )
        return character

    @field_validator("columns", mode="before")
    @classmethod
    def _names_or_expressions(cls, given: Any) -> Any:
        for ours, theirs in given.items() if isinstance(given, dict) else ():
            sql = theirs.get("sql") if isinstance(theirs, dict) and len(theirs) == 1 else theirs
            if not isinstance(sql, str | Expression) or not sql:
                raise ValueError(f"{ours}: a column's name or {{sql: EXPRESSION}} is expected")
        return given

    @model_validator(mode="after")
    def _apart(self) -> SourceConfig:
        if self.delimiter in (self.quote, self.escape):
            raise ValueError("source.delimiter must differ from source.quote and source.escape")
        if self.escape is not None and self.quote is None:
            raise ValueError("source.escape changes nothing without source.quote")
        return self

    @model_validator(mode="after")
    def _one_place(self) -> SourceConfig:
        if (self.path is None) == (self.table is None):
            raise ValueError("give either source.path or source.table")
        unknown = set(self.columns) - set(NOTE_COLUMNS)
        if unknown:
            raise ValueError(
                f"source.columns maps {sorted(unknown)}; the columns of notes are {NOTE_COLUMNS}"
            )
        return self


class IngestConfig(Model):
    """`jobs/ingest.py`: a source into `notes`.

    `removed_notes`: delete from our tables what the source no longer holds (it is the whole
    truth), or keep it (the source is an increment). An ingest that would delete more than
    `removed_share` of the stored notes is refused: more often than not it has the wrong source.
    """

    tables: TablesConfig
    source: SourceConfig
    removed_notes: Literal["delete", "keep"] = "delete"
    removed_share: float = Field(0.1, ge=0, le=1)


# Options that would change nothing for the other kinds; device and batches are told to anyone.
KINDS_OF = {
    "label_map": ("bert",),
    "max_pair_tokens": ("bert",),
    "calibration": ("tagger",),
    "entity_threshold": ("tagger",),
    "relation_threshold": ("tagger",),
    "pair_threshold": ("bert", "tagger"),
    "max_pair_distance": ("bert", "tagger"),
    "max_tokens": ("bert", "tagger"),
    "stride": ("bert", "tagger"),
}


class Temperatures(Model):
    """What a tagger's probabilities are divided by in logits (`jobs/crossvalidate.py` fits them).

    `tags` has one a layer, in order. Given in a configuration, they stand for the model's own.
    """

    tags: tuple[Annotated[float, Field(gt=0)], ...]
    pairs: float = Field(1.0, gt=0)


RENAMED_KEYS = {"batch_tokens": "max_tokens_per_batch", "max_pair_words": "max_pair_distance"}


class ExtractorConfig(Model):
    """Which model reads the notes, and how. Device and batch size never change an answer."""

    kind: Literal["dictionary", "bert", "tagger"] = "tagger"
    labels: str = "kiwi"
    model: str | None = None
    models: tuple[str, ...] | None = Field(None, min_length=1)  # of an ensemble of taggers
    main: str | None = None
    modifier: str | None = None
    relation: str | None = None
    label_map: dict[str, str] = Field(default_factory=dict)
    context: int = Field(0, ge=0, le=8)  # sentences on each side that the tagger sees as well
    max_tokens: int = Field(256, ge=16, le=8192)
    stride: int = Field(64, ge=0)
    max_pair_distance: int = Field(20, ge=1)
    max_pair_tokens: int = Field(48, ge=16)
    pair_threshold: float = Field(0.5, ge=0, le=1)
    entity_threshold: float = Field(0.4, ge=0, le=1)
    relation_threshold: float = Field(0.4, ge=0, le=1)
    calibration: Temperatures | None = None
    max_tokens_per_batch: int = Field(4096, ge=16)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_keys(cls, values: Any) -> Any:
        return refuse_old_keys(values, RENAMED_KEYS)

    @model_validator(mode="after")
    def _fits_kind(self) -> ExtractorConfig:
        paths = (self.model, self.main, self.modifier, self.relation)
        if self.kind == "dictionary" and any(paths):
            raise ValueError("the dictionary takes no model, main, modifier or relation")
        if self.kind == "bert" and not any(paths):
            raise ValueError("bert needs extractor.model (a trained folder), or main and others")
        if self.kind == "tagger" and any(paths[1:]):
            raise ValueError("the tagger is one model: give extractor.model, or none for `small`")
        if self.models and (self.kind != "tagger" or self.model):
            raise ValueError("extractor.models is an ensemble of taggers, and excludes model")
        if self.context and self.kind != "tagger":
            raise ValueError(f"extractor.context is a tagger's; {self.kind} reads sentences alone")
        if self.kind == "bert" and self.model and any(paths[1:]):
            raise ValueError("give extractor.model, or main/modifier/relation, not both")
        if self.stride * 2 >= self.max_tokens:
            raise ValueError("extractor.stride must be less than half of extractor.max_tokens")
        for name, kinds in KINDS_OF.items():
            if self.kind not in kinds and getattr(self, name) != _default_of(type(self), name):
                raise ValueError(f"extractor.{name} changes nothing for kind: {self.kind}")
        return self

    def located(self) -> ExtractorConfig:
        """Return the same with absolute paths: executors do not run in the driver's folder."""
        named = {part: getattr(self, part) for part in ("model", "main", "modifier", "relation")}
        there = {part: path for part, path in named.items() if path and Path(path).is_dir()}
        found: dict[str, Any] = {part: _absolute(path) for part, path in there.items()}
        if self.models:
            found["models"] = tuple(map(_absolute, self.models))
        if is_path(self.labels):
            found["labels"] = str(Path(self.labels).resolve())
        return self.model_copy(update=found)


def _default_of(kind: type[BaseModel], name: str) -> Any:
    return kind.model_fields[name].get_default(call_default_factory=True)


def _absolute(name: str) -> str:
    """Return the absolute path of a folder; a Hugging Face name stays what it is."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


class ExtractConfig(Model):
    """`jobs/extract.py`: `notes` into `entities` and `relations`.

    A plan of at most `driver_notes` notes is done by the driver itself. A wave of a larger one
    takes about `wave_minutes`, a task of it about `units_per_task` units. `max_failed_share` of the
    notes may fail before the job exits non-zero. `slices` sets the number of slices of a plan.
    """

    tables: TablesConfig
    extractor: ExtractorConfig = ExtractorConfig()
    where: str | None = None
    slices: int | None = Field(None, ge=1, le=100_000)
    driver_notes: int = Field(2000, ge=0)
    wave_minutes: float = Field(5.0, gt=0)
    units_per_task: int = Field(5_000, ge=1)
    max_failed_share: float = Field(0.01, ge=0, le=1)


class EvaluateConfig(ExtractConfig):
    """An extract configuration, of which the extractor is used; tables may be missing."""

    tables: TablesConfig | None = None  # type: ignore[assignment]


C = TypeVar("C", bound=Model)


def load_config(kind: type[C], path: str | Path | None, overrides: Sequence[str] = ()) -> C:
    """Read a YAML file, apply ``key.sub=value`` overrides (values are YAML) and check the whole.

    With no path the defaults are used. Raises ConfigError that names the file, the key and,
    for an unknown key, the nearest known one.
    """
    values = read_values(path, overrides)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        where = path or "configuration"
        raise ConfigError(f"{where}: " + "; ".join(explained(kind, error))) from None
