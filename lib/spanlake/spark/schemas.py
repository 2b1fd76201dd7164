"""Every table's columns, once: types, comments and keys. docs/tables.md is made from this."""

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
    `description` (Markdown) and `key`, the columns that identify a row, are for docs/tables.md.

    Constraints look at numbers only: Delta prints the values of a violating row.
    """

    schema: T.StructType
    description: str
    key: tuple[str, ...]
    partitioned_by: tuple[str, ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    properties: tuple[tuple[str, str], ...] = ()


def _table(
    description: str,
    *fields: T.StructField,
    key: tuple[str, ...],
    partitioned_by: tuple[str, ...] = (),
    properties: tuple[tuple[str, str], ...] = (),
    **checks: str,
) -> Table:
    schema = T.StructType(list(fields))
    return Table(schema, description, key, partitioned_by, tuple(checks.items()), properties)


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
    _struct(*((f.name, f.dataType) for f in fields)) for fields in (ENTITY_FIELDS, RELATION_FIELDS)
)

ENTITIES = """\
The table that users query. The row of a note in `note_status` publishes its entities.

`negated`, `uncertain` and `subject` are three-valued. Null is not known: the scores neither accept
nor rule out a relation to a cue in reach, or the label set has no such pair (a drug is never
uncertain, a modifier never negated). Therefore write `negated = false`, or `negated IS NOT TRUE` to
count what is not known; `NOT negated` leaves nulls out silently. The patient's own affirmed
problems are `label = 'problem' AND negated = false AND uncertain = false AND subject = 'patient'`.

Rows with `source = 'rule'` are modifiers that rules add (docs/models.md). They may overlap a
modifier of another label."""

TABLES: dict[str, Table] = {
    "notes": _table(
        "One row per note, as the source has it now. `spanlake ingest` writes new, changed and"
        " removed notes in one MERGE; a change of `patient_id` or other metadata alone is a change"
        " of the note. The table has deletion vectors (`delta.enableDeletionVectors`): an edited"
        " note is marked in its file and written to a new file. A reader of the files without"
        " Delta 2.4 or later therefore sees edited and removed notes as well.",
        NOTE_KEY[0],
        _field("patient_id", STRING),
        _field("encounter_id", STRING),
        _field("note_type", STRING),
        _field("note_datetime", STRING, "as the source writes it"),
        _field("note_text", STRING, "exactly as stored at the source", null=False),
        NOTE_KEY[1],
        key=("note_id",),
        # An edited note is marked in its file, which is not written again for it.
        properties=(("delta.enableDeletionVectors", "true"),),
    ),
    "plan_units": _table(
        "The stored plan: every note of a plan as its units, with their slice; no text. A note"
        " without a sentence has one row with nulls. The view `sentences` cuts the text of the"
        " units out of `notes`.",
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
        key=("plan_id", "note_id", "sentence_index"),
        partitioned_by=("plan_id", "slice"),
    ),
    "work": _table(
        "The units of unfinished plans that have no answer yet. Each unit is a place in one note"
        " of its first slice; no text. The rows of a plan are dropped when it is finished.",
        PLAN_KEY[1],
        _field("slice", INT, "the first slice that holds the unit", null=False),
        _field("unit_key", T.BinaryType(), null=False),
        *NOTE_KEY,
        *[_field(name, INT, null=False) for name in ("start", "end", "left_start", "right_end")],
        key=("plan_id", "unit_key"),
        partitioned_by=("plan_id", "slice"),
    ),
    "extractions": _table(
        "Every answer of a model to a text: append-only, **no text**. Offsets are relative to the"
        " target. The outcomes `ok` and `unreadable` are permanent, and there is one permanent row"
        " per key. A `transient` outcome is planned again, at most three times. `undecided` holds"
        " relations to a negation, an uncertainty or a subject whose score is too low for a"
        " relation and too high to rule one out.",
        _field("unit_key", T.BinaryType(), null=False),
        _field("model_fingerprint", STRING, null=False),
        *[_field(f.name, f.dataType) for f in ANSWER.fields],
        _field("plan_id", STRING, null=False),
        _field("wave", INT, null=False),
        _field("timing", TIMING, "on the last row of each task, null elsewhere"),
        key=("unit_key", "model_fingerprint"),
        partitioned_by=("model_fingerprint",),
    ),
    "derived": _table(
        "The merged notes of a run of slices, before they are written to `entities`, `relations`"
        " and `note_status`. Holds text. The rows of a plan are dropped when it is finished.",
        PLAN_KEY[1],
        _field("number", INT, "the run of slices that was derived at once", null=False),
        PLAN_KEY[2],
        *NOTE_KEY,
        *STATE,
        _field("entities", T.ArrayType(ENTITY)),
        _field("relations", T.ArrayType(RELATION)),
        key=("plan_id", "note_id"),
        partitioned_by=("plan_id", "number"),
    ),
    "entities": _table(
        ENTITIES,
        ENTITY_FIELDS[0],
        *NOTE_KEY,
        *ENTITY_FIELDS[1:],
        *PLAN_KEY,
        key=("entity_id",),
        partitioned_by=("pipeline_fingerprint",),
        offsets="start >= 0 AND `end` > start",
        score="score IS NULL OR (score >= 0 AND score <= 1)",
    ),
    "relations": _table(
        "Directed from a main entity (head) to its modifier (tail), with label, text and offsets"
        " of both. `same_sentence` is false where a rule found the cue in a line above.",
        RELATION_FIELDS[0],
        *NOTE_KEY,
        *RELATION_FIELDS[1:],
        *PLAN_KEY,
        key=("relation_id",),
        partitioned_by=("pipeline_fingerprint",),
    ),
    "note_status": _table(
        "The terminal status of every note. It is appended last, and the views show the rows of a"
        " note once it is there. `failed` notes are planned again; the other states are final.",
        *NOTE_KEY,
        *STATE,
        _field("entities", LONG, null=False),
        _field("relations", LONG, null=False),
        _field("plan_number", LONG, "of two plans the higher number holds", null=False),
        *PLAN_KEY,
        key=("note_id", "text_sha256", "pipeline_fingerprint", "plan_id"),
        partitioned_by=("pipeline_fingerprint",),
    ),
    "plan_events": _table(
        "The history of every plan, append-only: claimed (by a Delta transaction), planned"
        " (counted), its waves and derive runs in the order of their choice, taken over, finished"
        " or abandoned, and which pipeline the views show.",
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
        key=("plan_id", "event", "number", "epoch"),
    ),
    "runs": _table(
        "One row per job run. An ingest accounts for its source and prints the same counts:"
        " `rows_read` = `rows_left_out` + `rows_refused` + `notes_new` + `notes_changed` +"
        " `notes_unchanged`.",
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
        key=("run_id",),
    ),
    "gold_entities": _table(
        "Annotated entities of the corpora that were scored.",
        _field("corpus", STRING, null=False),
        _field("note_id", STRING, null=False),
        _field("entity_id", STRING, null=False),
        _field("layer", STRING, null=False),
        _field("label", STRING, null=False),
        _field("text", STRING, null=False),
        _field("start", INT, null=False),
        _field("end", INT, null=False),
        key=("corpus", "entity_id"),
    ),
    "gold_relations": _table(
        "Annotated relations of the same corpora.",
        _field("corpus", STRING, null=False),
        _field("note_id", STRING, null=False),
        _field("head_entity_id", STRING, null=False),
        _field("tail_entity_id", STRING, null=False),
        _field("label", STRING, null=False),
        key=("corpus", "head_entity_id", "tail_entity_id"),
    ),
    "scores": _table(
        "Counts of `spanlake evaluate --store` and `jobs/evaluate.py`. Counts are integers,"
        " pooled over notes; an undefined ratio is null.",
        _field("run_id", STRING, null=False),
        _field("corpus", STRING, null=False),
        _field("model_fingerprint", STRING),
        _field("level", STRING, "entities, modifiers or relations", null=False),
        _field("label", STRING, "null: micro over all labels"),
        _field("mode", STRING, "strict, relaxed, relaxed_many or gold_entities", null=False),
        *[_field(name, LONG, null=False) for name in ("tp", "fp", "fn", "support")],
        *[_field(name, DOUBLE, "null: undefined") for name in ("precision", "recall", "f1")],
        key=("run_id", "level", "label", "mode"),
    ),
}
