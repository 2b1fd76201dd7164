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
    entities = [row for one in gold for row in _entity_rows(corpus, one, labels)]
    relations = [row for one in gold for row in _relation_rows(corpus, one)]
    where = "corpus = '" + corpus.replace("'", "''") + "'"
    for table, found in (("gold_entities", entities), ("gold_relations", relations)):
        schema = tables.spark.sql(f"SELECT * FROM {tables.ensure(table)}").schema
        tables.replace(table, tables.spark.createDataFrame(found, schema), where)


def store_scores(
    tables: Tables, scores: Scores, *, run_id: str, corpus: str, model: str | None
) -> None:
    """Append a run's scores, one row a level, label and mode."""
    columns = {"run_id": run_id, "corpus": corpus, "model_fingerprint": model}
    schema = tables.spark.sql(f"SELECT * FROM {tables.ensure('scores')}").schema
    found = [Row(**{name: row[name] for name in schema.names}) for row in rows(scores, **columns)]
    tables.append("scores", tables.spark.createDataFrame(found, schema))


def _entity_rows(corpus: str, one: GoldNote, labels: LabelSet) -> Iterator[tuple[object, ...]]:
    for e in one.annotation.entities:
        key = _entity_id(one, e)
        layer = labels.layer_of(e.label)
        yield corpus, one.note.note_id, key, layer, e.label, e.text, e.start, e.end


def _relation_rows(corpus: str, one: GoldNote) -> Iterator[tuple[object, ...]]:
    entities = one.annotation.entities
    for r in one.annotation.relations:
        ends = _entity_id(one, entities[r.head]), _entity_id(one, entities[r.tail])
        yield corpus, one.note.note_id, *ends, r.label


def _entity_id(one: GoldNote, entity: Entity) -> str:
    key = f"{one.note.note_id}\x1f{entity.start}\x1f{entity.end}\x1f{entity.label}"
    return hashlib.sha256(key.encode()).hexdigest()[:32]
