"""Every table's columns, once: types, comments and keys. docs/tables.md is checked against this."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import types as T

STRING, INT, LONG = T.StringType(), T.IntegerType(), T.LongType()
DOUBLE, BOOL, TIME = T.DoubleType(), T.BooleanType(), T.TimestampType()


def _field(name: str, kind: T.DataType, comment: str = "", *, null: bool = True) -> T.StructField:
    return T.StructField(name, kind, null, {"comment": comment} if comment else {})


def _struct(*fields: tuple[str, T.DataType]) -> T.StructType:
    return T.StructType([T.StructField(name, kind) for name, kind in fields])


SPAN = _struct(("label", STRING), ("start", INT), ("end", INT), ("score", DOUBLE))
LINK = _struct(("head", INT), ("tail", INT), ("label", STRING), ("score", DOUBLE))
TIMING = _struct(
    ("partition", INT),
    ("attempt", INT),
    ("host", STRING),
    ("pid", LONG),
    ("device", STRING),
    ("model_loads", INT),
    ("load_seconds", DOUBLE),
    ("tokenize_seconds", DOUBLE),
    ("forward_seconds", DOUBLE),
    ("decode_seconds", DOUBLE),
    ("task_seconds", DOUBLE),
    ("started_at", TIME),
    ("units", LONG),
    ("chars", LONG),
    ("tokens", LONG),
    ("padded_tokens", LONG),
    ("generated_tokens", LONG),
    ("batches", LONG),
    ("oom_splits", LONG),
    ("peak_memory_bytes", LONG),
    ("energy_joules", DOUBLE),
    ("energy_source", STRING),
    ("passes", LONG),
    ("drafted_tokens", LONG),
    ("accepted_tokens", LONG),
    ("stepped_rows", LONG),
    ("ties", LONG),
    ("passed_on", LONG),
)
ANSWER = _struct(
    ("outcome", STRING),
    ("entities", T.ArrayType(SPAN)),
    ("relations", T.ArrayType(LINK)),
    ("chars_seen", INT),
    ("error_class", STRING),
    ("reason", STRING),
    ("confidence", DOUBLE),
    ("undecided", T.ArrayType(LINK)),
)
WAVE = _struct(("wave", INT), ("units", LONG), ("wall_seconds", DOUBLE), ("tasks", LONG))


@dataclass(frozen=True)
class Table:
    """A table's schema, and how Delta lays it out; `checks` are CHECK constraints by name.

    Partitions keep what is read together apart from the rest, whatever OPTIMIZE does, and commits
    to different ones never conflict. `properties` are those that this table alone has.

    Constraints look at numbers only: Delta prints the values of a violating row.
    """

    schema: T.StructType
    partitioned_by: tuple[str, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    properties: tuple[tuple[str, str], ...] = ()


def _table(
    *fields: T.StructField,
    partitioned_by: tuple[str, ...] = (),
    properties: tuple[tuple[str, str], ...] = (),
    **checks: str,
) -> Table:
    return Table(T.StructType(list(fields)), partitioned_by, tuple(checks.items()), properties)


NOTE_KEY = (
    _field("note_id", STRING, "the source's own id", null=False),
    _field("text_sha256", STRING, "SHA-256 of note_text as UTF-8", null=False),
)
PLAN_KEY = (
    _field("pipeline_fingerprint", STRING, "model, splitter, unit and derive versions", null=False),
    _field("plan_id", STRING, "the plan that wrote the row", null=False),
    _field("slice", INT, "slice of the plan, by hash of the note", null=False),
)
STATE = (
    _field("state", STRING, "done, empty, failed (planned again) or quarantined", null=False),
    _field("chars", LONG, "characters of the note", null=False),
    _field("chars_seen", LONG, "those of them that the model has seen", null=False),
    _field("error_class", STRING, "class of the first error"),
    _field("reason", STRING, "counts, never text"),
    _field("dropped", T.MapType(STRING, INT), "what was left out of the answers, by reason"),
)

ENTITY_FIELDS = (
    _field("entity_id", STRING, null=False),
    _field("sentence_index", INT, null=False),
    _field("section", STRING),
    _field("layer", STRING, "main or modifier", null=False),
    _field("label", STRING, null=False),
    _field("text", STRING, "note_text[start:end]", null=False),
    _field("start", INT, "code points of note_text, 0-based", null=False),
    _field("end", INT, "exclusive", null=False),
    _field("score", DOUBLE, "0 to 1; null where source is rule"),
    _field("source", STRING, "model or rule (core/assertion_rules, core/cleaning.py)"),
    _field("negated", BOOL, "has a negation modifier; null: not known"),
    _field("uncertain", BOOL, "has an uncertain modifier; null: not known"),
    _field("subject", STRING, "patient, or who else is concerned; null: not known"),
    _field("alignment", STRING, "exact, whitespace or fuzzy"),
)
RELATION_FIELDS = (
    _field("relation_id", STRING, null=False),
    _field("head_entity_id", STRING, null=False),
    _field("tail_entity_id", STRING, null=False),
    _field("label", STRING, null=False),
    _field("score", DOUBLE, "0 to 1; null where source is rule"),
    _field("source", STRING, "model or rule"),
    *[
        _field(f"{end}_{name}", kind, null=False)
        for end in ("head", "tail")
        for name, kind in (("label", STRING), ("text", STRING), ("start", INT), ("end", INT))
    ],
    _field("same_sentence", BOOL),
)
# Delta knows no NOT NULL within arrays
ENTITY, RELATION = (
    _struct(*((f.name, f.dataType) for f in own)) for own in (ENTITY_FIELDS, RELATION_FIELDS)
)

TABLES: dict[str, Table] = {
    "notes": _table(
        NOTE_KEY[0],
        _field("patient_id", STRING),
        _field("encounter_id", STRING),
        _field("note_type", STRING),
        _field("note_datetime", STRING, "as the source writes it"),
        _field("note_text", STRING, "exactly as stored at the source", null=False),
        NOTE_KEY[1],
        # An edited note is marked in its file, which is not written again for it.
        properties=(("delta.enableDeletionVectors", "true"),),
    ),
    "plan_units": _table(
        PLAN_KEY[1],
        PLAN_KEY[2],
        *NOTE_KEY,
        _field("sentence_index", INT, "0-based within the note; null: the note has no sentence"),
        _field("start", INT, "code points of note_text, 0-based"),
        _field("end", INT, "exclusive"),
        _field("left_start", INT, "where the text that the model sees begins"),
        _field("right_end", INT, "where it ends"),
        _field("section", STRING, "nearest heading above, normalised; empty before the first"),
        _field("unit_key", T.BinaryType(), "first 16 bytes of a SHA-256 of what the model sees"),
        partitioned_by=("plan_id", "slice"),
    ),
    "work": _table(
        PLAN_KEY[1],
        _field("slice", INT, "the first slice that holds the unit", null=False),
        _field("unit_key", T.BinaryType(), null=False),
        *NOTE_KEY,
        *[_field(name, INT, null=False) for name in ("start", "end", "left_start", "right_end")],
        partitioned_by=("plan_id", "slice"),
    ),
    "extractions": _table(
        _field("unit_key", T.BinaryType(), null=False),
        _field("model_fingerprint", STRING, null=False),
        *[_field(f.name, f.dataType) for f in ANSWER.fields],
        _field("plan_id", STRING, null=False),
        _field("wave", INT, null=False),
        _field("timing", TIMING, "on the last row of each task, null elsewhere"),
        partitioned_by=("model_fingerprint",),
    ),
    "derived": _table(
        PLAN_KEY[1],
        _field("number", INT, "the run of slices that was derived at once", null=False),
        PLAN_KEY[2],
        *NOTE_KEY,
        *STATE,
        _field("entities", T.ArrayType(ENTITY)),
        _field("relations", T.ArrayType(RELATION)),
        partitioned_by=("plan_id", "number"),
    ),
    "entities": _table(
        ENTITY_FIELDS[0],
        *NOTE_KEY,
        *ENTITY_FIELDS[1:],
        *PLAN_KEY,
        partitioned_by=("pipeline_fingerprint",),
        offsets="start >= 0 AND `end` > start",
        score="score IS NULL OR (score >= 0 AND score <= 1)",
    ),
    "relations": _table(
        RELATION_FIELDS[0],
        *NOTE_KEY,
        *RELATION_FIELDS[1:],
        *PLAN_KEY,
        partitioned_by=("pipeline_fingerprint",),
    ),
    "note_status": _table(
        *NOTE_KEY,
        *STATE,
        _field("entities", LONG, null=False),
        _field("relations", LONG, null=False),
        _field("plan_number", LONG, "of two plans the higher number holds", null=False),
        *PLAN_KEY,
        partitioned_by=("pipeline_fingerprint",),
    ),
    "plan_events": _table(
        _field("plan_id", STRING, null=False),
        _field("plan_number", LONG, "1, 2, 3 ... within a pipeline", null=False),
        PLAN_KEY[0],
        _field("model_fingerprint", STRING, null=False),
        _field(
            "event",
            STRING,
            "claimed, planned, wave, derive, taken_over, heartbeat, finished, abandoned, published",
            null=False,
        ),
        _field("at", TIME, null=False),
        _field("run_id", STRING, "the run that did it", null=False),
        _field("epoch", INT, "1 for the first owner of the plan, one more for each that follows"),
        _field("extractor", STRING, "claimed: the section `extractor` of the configuration, JSON"),
        _field("splitter_version", STRING, "claimed"),
        _field("where", STRING, "claimed: restriction on notes"),
        _field("notes_version", LONG, "claimed: pinned Delta version of notes"),
        _field("slices", INT, "claimed, planned: number of slices"),
        _field("small", BOOL, "claimed: the driver does it; it has ended with its notes' status"),
        _field("notes", LONG, "planned"),
        _field("units", LONG, "planned: sentences of the plan's notes"),
        _field("units_distinct", LONG, "planned: different texts among them"),
        _field("units_planned", LONG, "planned: those without an answer yet: what work holds"),
        _field("number", INT, "wave, derive: 0, 1, 2 ... within the plan"),
        _field("first_slice", INT, "wave, derive: the run of slices"),
        _field("last_slice", INT, "inclusive"),
        _field("lease", STRING, "claimed, taken_over: how the owner shows that it lives, JSON"),
    ),
    "runs": _table(
        _field("run_id", STRING, null=False),
        _field("job", STRING, null=False),
        _field("state", STRING, "done, failed or lost (killed: a later run says so)", null=False),
        _field("started_at", TIME, null=False),
        _field("finished_at", TIME, "null: lost"),
        _field("host", STRING),
        _field("pid", LONG),
        _field("config", STRING, "effective configuration, JSON"),
        _field("code_version", STRING),
        _field("spark_version", STRING),
        _field("pipeline_fingerprint", STRING),
        _field("model_fingerprint", STRING),
        _field("plan_id", STRING),
        _field("notes_version", LONG),
        _field("plan_seconds", DOUBLE),
        _field("infer_seconds", DOUBLE),
        _field("derive_seconds", DOUBLE),
        _field("waves", T.ArrayType(WAVE), "wall seconds of each wave, commit included"),
        _field("notes", LONG),
        _field("units", LONG),
        _field("units_read", LONG, "units that the model read in this run"),
        _field("model_loads", LONG),
        _field("failed_notes", LONG),
        _field("published", BOOL, "whether the views show the run's pipeline"),
        _field("notes_per_hour", DOUBLE, "of wall time, planning and deriving included"),
        _field("error_class", STRING),
        _field("rows_read", LONG, "of an ingest's source: the next two, new, changed, unchanged"),
        _field("rows_left_out", LONG, "by source.where"),
        _field("rows_refused", LONG, "0: an ingest takes all rows or none"),
        _field("notes_new", LONG, "of an ingest"),
        _field("notes_changed", LONG, "in text or metadata"),
        _field("notes_unchanged", LONG),
        _field("notes_removed", LONG, "stored, and no longer in the source"),
        _field("notes_blank", LONG, "of those read: nothing but white space"),
    ),
    "gold_entities": _table(
        _field("corpus", STRING, null=False),
        _field("note_id", STRING, null=False),
        _field("entity_id", STRING, null=False),
        _field("layer", STRING, null=False),
        _field("label", STRING, null=False),
        _field("text", STRING, null=False),
        _field("start", INT, null=False),
        _field("end", INT, null=False),
    ),
    "gold_relations": _table(
        _field("corpus", STRING, null=False),
        _field("note_id", STRING, null=False),
        _field("head_entity_id", STRING, null=False),
        _field("tail_entity_id", STRING, null=False),
        _field("label", STRING, null=False),
    ),
    "scores": _table(
        _field("run_id", STRING, null=False),
        _field("corpus", STRING, null=False),
        _field("model_fingerprint", STRING),
        _field("level", STRING, "entities, modifiers or relations", null=False),
        _field("label", STRING, "null: micro over all labels"),
        _field("mode", STRING, "strict, relaxed, relaxed_many or gold_entities", null=False),
        *[_field(name, LONG, null=False) for name in ("tp", "fp", "fn", "support")],
        *[_field(name, DOUBLE, "null: undefined") for name in ("precision", "recall", "f1")],
    ),
}
