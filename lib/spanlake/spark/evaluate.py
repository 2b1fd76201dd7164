"""Score an extractor on annotated notes, the notes spread over the executors."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Row, SparkSession

from spanlake.config.extract import ExtractorConfig
from spanlake.core.labels import LabelSet, load_labels
from spanlake.core.types import Entity
from spanlake.corpora import GoldNote
from spanlake.models import model_fingerprint
from spanlake.scoring.counts import Scores
from spanlake.scoring.evaluation import Evaluation, read_gold_notes
from spanlake.scoring.score_extractor import ScoredNote, scored_notes
from spanlake.scoring.scores import rows
from spanlake.spark.infer import cached_extractor
from spanlake.spark.tables import Tables


def evaluate_with_spark(
    spark: SparkSession, gold_notes: Path, extractor: ExtractorConfig, encoding: str = "utf-8"
) -> Evaluation:
    """Score an extractor on gold notes, as `scoring.evaluation.evaluate_extractor` does."""
    labels, extractor = load_labels(extractor.labels), extractor.located()
    gold, report = read_gold_notes(gold_notes, labels, encoding)
    slots = spark.sparkContext.defaultParallelism
    # Note by note, as our own values: the same process tree wrote them and reads them.
    frame = spark.createDataFrame([(pickle.dumps(one),) for one in gold], "gold binary")
    scored = frame.repartition(max(1, min(slots, len(gold)))).mapInArrow(
        _scorer(extractor.model_dump_json()), "notes binary"
    )
    notes: list[ScoredNote] = []
    for row in scored.collect():
        notes += pickle.loads(row.notes)  # noqa: S301
    notes.sort(key=lambda one: one.note_id)
    fingerprint = model_fingerprint(extractor)
    return Evaluation(labels, notes, report, fingerprint, gold_problems=report.reasons)


def _scorer(config_json: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        gold = [pickle.loads(row["gold"]) for b in batches for row in b.to_pylist()]  # noqa: S301
        if gold:
            extractor, _ = cached_extractor(config_json)
            notes = pickle.dumps(scored_notes(gold, extractor))
            yield pa.RecordBatch.from_arrays([pa.array([notes], pa.binary())], names=["notes"])

    return score


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
