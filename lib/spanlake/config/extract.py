"""Configurations: YAML files checked by pydantic on the driver, before Spark starts.

A file holds exactly one job's configuration. Unknown keys are refused with the nearest known one.
Descriptions and docstrings of these classes are docs/configuration.md (`make docs`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from spanlake.config.base import Model, codec_of
from spanlake.config.extractors import ExtractorConfig, TaggerConfig
from spanlake.core.types import NOTE_COLUMNS


class TablesConfig(Model):
    """Where the tables are: a folder (local, S3, ADLS ...) or a schema of the catalog."""

    location: str | None = Field(
        None,
        description="A folder of Delta tables: a path, or a URL of S3, ADLS ... Either this or"
        " `tables.schema` is required.",
    )
    database: str | None = Field(  # `schema` is taken by pydantic
        None, alias="schema", description="A schema of the catalog, for instance `main.notes`."
    )
    lease_dir: str | None = Field(
        None,
        description="A folder that every driver can open (NFS, `/Volumes`), for the leases of"
        " plans. Default: below `tables.location`.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> TablesConfig:
        if (self.location is None) == (self.database is None):
            raise ValueError("give either tables.location (a folder) or tables.schema")
        return self


class Expression(Model):
    """A computed column of notes."""

    sql: str = Field(
        description="SQL expression on the source's own columns, for instance"
        ' `"coalesce(CHARTTIME, CHARTDATE)"`.'
    )


# The shell and YAML take some characters for themselves: of a | alone a file's makes an empty text.
CHARACTERS = {"tab": "\t", "\\t": "\t", "pipe": "|", "": "|"}


class SourceConfig(Model):
    """Where notes come from, and which of its columns is which column of `notes`."""

    format: Literal["csv", "jsonl", "parquet", "delta", "text", "omop"] = Field(
        description="Format of the source. `omop` is OMOP's NOTE as a table, Delta or CSV."
    )
    path: str | None = Field(
        None,
        description="A file, a folder with its sub-folders, or a glob. Either this or"
        " `source.table` is required.",
    )
    table: str | None = Field(None, description="A table of the catalog.")
    columns: dict[str, str | Expression] = Field(
        default_factory=dict,
        description="Columns of `notes` (`note_id`, `note_text`, `patient_id`, `encounter_id`,"
        " `note_type`, `note_datetime`) to the source's columns. `note_id` and `note_text` are"
        " looked up by these names if they are not mapped; `omop` needs no map.",
    )
    where: str | None = Field(
        None,
        description="SQL condition on the source's own columns: the notes to take. Write"
        " `try_cast` instead of `cast`: executors log the value on which a `cast` fails.",
    )
    encoding: str = Field(
        "UTF-8",
        description="Encoding of `csv`, `jsonl` and `text`, by any name that Python knows: utf-8,"
        " cp1252, latin-1 ...",
    )
    delimiter: str = Field(
        ",",
        description="`csv`: one character between fields. `tab`, `\\t` and `pipe` stand for these"
        " characters.",
    )
    quote: str | None = Field(
        '"',
        description="`csv`: one character around a field. `null`: the file has no quoted fields,"
        " and quotes are text.",
    )
    escape: str | None = Field(
        None,
        description="`csv`: one character before a quote inside a quoted field, for instance"
        " `\\`; before other characters it is text. Default: such a quote is doubled.",
    )
    replacement_characters: Literal["refuse", "keep"] = Field(
        "refuse",
        description="What to do with notes that hold U+FFFD, the mark of a wrong encoding.",
    )

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
    """`spanlake ingest` and `jobs/ingest.py` write notes from a source into `notes`."""

    tables: TablesConfig = Field(description="Where the tables are.")
    source: SourceConfig = Field(description="Where the notes are.")
    removed_notes: Literal["delete", "keep"] = Field(
        "delete",
        description="`delete`: stored notes that the source no longer holds are deleted. `keep`:"
        " the source is an increment.",
    )
    removed_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="With `removed_notes: delete`: an ingest that would delete more than this share"
        " of the stored notes is refused, because it often has the wrong source. 1 allows all.",
    )


class ExtractConfig(Model):
    """`spanlake extract` and `jobs/extract.py` turn `notes` into `entities` and `relations`."""

    tables: TablesConfig = Field(description="Where the tables are.")
    extractor: ExtractorConfig = Field(
        TaggerConfig(), description="Which model reads the notes, and how (docs/models.md)."
    )
    where: str | None = Field(
        None,
        description="SQL condition on the columns of `notes`: the notes to read. Write `try_cast`"
        " instead of `cast`, as in `source.where` of an ingest.",
    )
    slices: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Number of slices of a plan. Default: one for about 2,000 notes.",
    )
    driver_notes: int = Field(
        2000,
        ge=0,
        description="A plan of at most so many notes is done by the driver itself, without Spark's"
        " workers. 0: never.",
    )
    wave_minutes: float = Field(
        5.0,
        gt=0,
        description="Approximate duration of a wave. A job that is killed loses two waves at most.",
    )
    units_per_task: int = Field(
        5_000, ge=1, description="Approximate number of units (sentences) that a task reads."
    )
    max_failed_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The job exits with 1 if more than this share of the notes failed.",
    )


class EvaluateConfig(ExtractConfig):
    """`spanlake evaluate`, `jobs/evaluate.py` and `spanlake extract FOLDER` take an extract
    configuration and use its `extractor`. Without `--config` the defaults are used: the bundled
    model.
    """

    tables: TablesConfig | None = Field(  # type: ignore[assignment]
        None,
        description="Where `jobs/evaluate.py` stores the gold annotation and the scores. Without it"
        " they are not stored.",
    )
