"""Configurations: YAML files checked by pydantic on the driver, before Spark starts.

A file holds exactly one job's configuration. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from spanlake.config.base import Model, codec_of
from spanlake.config.extractors import ExtractorConfig, TaggerConfig
from spanlake.core.types import NOTE_COLUMNS


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


class ExtractConfig(Model):
    """`jobs/extract.py`: `notes` into `entities` and `relations`.

    A plan of at most `driver_notes` notes is done by the driver itself. A wave of a larger one
    takes about `wave_minutes`, a task of it about `units_per_task` units. `max_failed_share` of the
    notes may fail before the job exits non-zero. `slices` sets the number of slices of a plan.
    """

    tables: TablesConfig
    extractor: ExtractorConfig = TaggerConfig()
    where: str | None = None
    slices: int | None = Field(None, ge=1, le=100_000)
    driver_notes: int = Field(2000, ge=0)
    wave_minutes: float = Field(5.0, gt=0)
    units_per_task: int = Field(5_000, ge=1)
    max_failed_share: float = Field(0.01, ge=0, le=1)


class EvaluateConfig(ExtractConfig):
    """An extract configuration, of which the extractor is used; tables may be missing."""

    tables: TablesConfig | None = None  # type: ignore[assignment]
