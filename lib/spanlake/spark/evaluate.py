"""Annotated notes and scores as tables: `gold_entities`, `gold_relations` and `scores`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pyspark.sql import Row

from spanlake.core.labels import LabelSet
from spanlake.core.types import Entity
from spanlake.corpora import GoldNote
from spanlake.scoring.counts import Scores
from spanlake.scoring.scores import rows
from spanlake.spark.tables import Tables


def store_gold(tables: Tables, corpus: str, gold: Sequence[GoldNote], labels: LabelSet) -> None:
    """Replace a corpus's rows of `gold_entities` and `gold_relations`."""
    entities = [row for gold_note in gold for row in _entity_rows(corpus, gold_note, labels)]
    relations = [row for gold_note in gold for row in _relation_rows(corpus, gold_note)]
    where = "corpus = '" + corpus.replace("'", "''") + "'"
    for table, table_rows in (("gold_entities", entities), ("gold_relations", relations)):
        schema = tables.spark.sql(f"SELECT * FROM {tables.ensure(table)}").schema
        tables.replace(table, tables.spark.createDataFrame(table_rows, schema), where)


def store_scores(
    tables: Tables, scores: Scores, *, run_id: str, corpus: str, model: str | None
) -> None:
    """Append a run's scores, one row a level, label and mode."""
    columns = {"run_id": run_id, "corpus": corpus, "model_fingerprint": model}
    schema = tables.spark.sql(f"SELECT * FROM {tables.ensure('scores')}").schema
    score_rows = [
        Row(**{name: row[name] for name in schema.names}) for row in rows(scores, **columns)
    ]
    tables.append("scores", tables.spark.createDataFrame(score_rows, schema))


def _entity_rows(
    corpus: str, gold_note: GoldNote, labels: LabelSet
) -> Iterator[tuple[object, ...]]:
    for e in gold_note.annotation.entities:
        key = _entity_id(gold_note, e)
        layer = labels.layer_of(e.label)
        yield corpus, gold_note.note.note_id, key, layer, e.label, e.text, e.start, e.end


def _relation_rows(corpus: str, gold_note: GoldNote) -> Iterator[tuple[object, ...]]:
    entities = gold_note.annotation.entities
    for r in gold_note.annotation.relations:
        ends = _entity_id(gold_note, entities[r.head]), _entity_id(gold_note, entities[r.tail])
        yield corpus, gold_note.note.note_id, *ends, r.label


def _entity_id(gold_note: GoldNote, entity: Entity) -> str:
    key = f"{gold_note.note.note_id}\x1f{entity.start}\x1f{entity.end}\x1f{entity.label}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]
