"""The SQL face: `SELECT spanlake_extract(note_text) FROM notes`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pandas as pd
from pandas.api.types import is_scalar
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from spanlake.config.extractors import ExtractorConfig
from spanlake.core.assemble import NoteResult
from spanlake.core.labels import LabelSet
from spanlake.core.types import Note
from spanlake.errors import DataError
from spanlake.predict import annotate
from spanlake.spark.infer import cached_extractor
from spanlake.spark.schemas import LINK

FIX = "give CAST(x AS STRING), or decode(x, 'UTF-8') of bytes"
ENTITY = T.StructType(
    [
        T.StructField("label", T.StringType()),
        T.StructField("layer", T.StringType()),
        T.StructField("text", T.StringType()),
        T.StructField("start", T.IntegerType()),
        T.StructField("end", T.IntegerType()),
        T.StructField("score", T.DoubleType()),
    ]
)
RESULT = T.StructType(
    [
        T.StructField("state", T.StringType()),
        T.StructField("error_class", T.StringType()),
        T.StructField("entities", T.ArrayType(ENTITY)),
        T.StructField("relations", T.ArrayType(LINK)),
    ]
)


def register(spark: SparkSession, extractor: ExtractorConfig) -> None:
    """Make `spanlake_extract(text)` known to SQL.

    It returns a struct: state, error_class, entities (offsets in code points of the text, end
    exclusive) and relations (head and tail are 0-based positions in entities). A null text gives
    nulls; a query on a column of another type than text fails and says so. It is marked
    nondeterministic, as Spark would otherwise run the model once for the result and once more for
    a filter on it.
    """
    config_json = extractor.located().model_dump_json()

    def spanlake_extract(texts: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        model, _ = cached_extractor(config_json)
        for series in texts:
            given = _texts(series)
            notes = [Note("", text) for text in given if text is not None]
            results = iter(annotate(notes, model, ""))
            rows = [None if t is None else _row(next(results), model.labels) for t in given]
            yield pd.DataFrame([row or dict.fromkeys(RESULT.names) for row in rows])

    function = F.pandas_udf(spanlake_extract, RESULT)  # type: ignore[call-overload]
    spark.udf.register("spanlake_extract", function.asNondeterministic())


def _texts(column: object) -> list[str | None]:
    """Return a column's texts, None for nulls; fails for a column that is not of text."""
    if not isinstance(column, pd.Series):  # several arguments are a tuple, a struct is a frame
        raise _refused("found several columns")
    texts: list[str | None] = []
    for value in column:
        if not isinstance(value, str) and not (is_scalar(value) and pd.isna(value)):
            raise _refused(f"found {type(value).__name__}")
        texts.append(value if isinstance(value, str) else None)
    return texts


def _refused(problem: str) -> DataError:
    """Return an error that Spark shows without the traceback of this worker, which dies of it."""
    os.environ["SPARK_HIDE_TRACEBACK"] = "1"  # as ...udf.hideTraceback.enabled sets it
    return DataError(f"spanlake_extract takes one column of text, {problem}: {FIX}")


def _row(result: NoteResult, labels: LabelSet) -> dict[str, object]:
    annotation = result.annotation
    return {
        "state": result.state,
        "error_class": result.error_class,
        "entities": [
            {
                "label": e.label,
                "layer": labels.layer_of(e.label),
                "text": e.text,
                "start": e.start,
                "end": e.end,
                "score": e.score,
            }
            for e in annotation.entities
        ],
        "relations": [
            {"head": r.head, "tail": r.tail, "label": r.label, "score": r.score}
            for r in annotation.relations
        ],
    }
