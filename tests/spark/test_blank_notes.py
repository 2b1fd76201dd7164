"""What is a blank note is the same to Spark, the splitter and the merging of a note's results."""

from __future__ import annotations

import pytest

from spanlake.core.assemble import merge
from spanlake.core.labels import load_labels
from spanlake.core.types import Note
from spanlake.errors import DataError
from spanlake.spark.ingest import has_text
from spanlake.spark.plan import unit_rows
from spanlake.text.sentences import split

TEXTS = ["", " \r\n\t", "\ufeff", "\ufeff\u2028 \x1c", "a", "\ufeffa", ".", "\u200b", "\x85\xa0"]


def test_spark_and_the_splitter_agree_on_what_is_blank(spark):
    rows = spark.createDataFrame([(text,) for text in TEXTS], "note_text string")
    found = {
        row.note_text: row.text for row in rows.select("*", has_text().alias("text")).collect()
    }
    assert found == {text: bool(split(text)) for text in TEXTS}


@pytest.mark.parametrize("text", TEXTS)
def test_a_blank_note_has_one_row_without_a_sentence_in_its_plan(text):
    rows = unit_rows({"note_id": "a", "text_sha256": "s", "note_text": text, "slice": 0}, 0)
    blank = {"note_id": "a", "text_sha256": "s", "slice": 0}
    assert (rows == [blank]) is not bool(split(text))


def test_a_note_of_a_byte_order_mark_alone_is_empty_and_one_with_text_lacks_its_sentences():
    labels = load_labels("kiwi")
    assert merge(Note("a", "\ufeff\r\n"), [], [], labels, "p").state == "empty"
    with pytest.raises(DataError, match="note a has text but no sentences"):
        merge(Note("a", "\ufeffCough"), [], [], labels, "p")
