"""Sentences as units: the target with its neighbours, and the hash of what a model sees.

The same as `core.units`, in Spark's own columns (tested against each other).
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from spanlake.core.units import SEPARATOR


def as_units(sentences: DataFrame, context: int) -> DataFrame:
    """Add left, right and unit_sha256 to rows of `sentences`, whose `text` is the target.

    With `context` neighbours the rows need `note_text` too, which is dropped.
    """
    left, right = _around(context) if context else (F.lit(""), F.lit(""))
    units = sentences.withColumns({"left": left, "right": right})
    seen = [F.col(name) for name in ("left", "text", "right")]
    return units.withColumn("unit_sha256", unit_sha256(*seen)).drop("note_text")


def _around(context: int) -> tuple[Column, Column]:
    """Return the note's text from the first neighbour to the sentence, and on to the last."""
    note = Window.partitionBy("note_id", "text_sha256").orderBy("sentence_index")
    first = F.coalesce(F.min("start").over(note.rowsBetween(-context, -1)), F.col("start"))
    last = F.coalesce(F.max("end").over(note.rowsBetween(1, context)), F.col("end"))
    return (
        F.substring("note_text", first + 1, F.col("start") - first),
        F.substring("note_text", F.col("end") + 1, last - F.col("end")),
    )


def unit_sha256(left: Column, target: Column, right: Column) -> Column:
    """Hash what a model sees as `Unit.unit_sha256` does; no section is seen."""
    joined = F.concat_ws(SEPARATOR, left, target, right, F.lit(""))
    return F.sha2(joined.cast("binary"), 256)
