from __future__ import annotations

import pytest

from spanlake.core.config import ExtractorConfig
from spanlake.core.labels import load_labels
from spanlake.core.units import Note
from spanlake.models.annotate import annotate
from spanlake.models.dictionary import Dictionary
from spanlake.spark.udf import register

TEXTS = ["No fever.\nTakes aspirin 81 mg daily.", None, "", "Severe headache \U0001f600 and cough."]


@pytest.fixture
def answers(spark):
    register(spark, ExtractorConfig(kind="dictionary"))
    frame = spark.createDataFrame([(i, text) for i, text in enumerate(TEXTS)], "i int, t string")
    frame.createOrReplaceTempView("texts")
    return spark.sql("SELECT t, spanlake_extract(t) AS found FROM texts ORDER BY i").collect()


def test_sql_gives_the_entities_that_the_library_gives(answers):
    model = Dictionary(load_labels("kiwi"))
    for row in answers:
        if row.t is None:
            continue
        expected = annotate([Note("", row.t)], model, "")[0].annotation
        assert [(e.label, e.start, e.end) for e in row.found.entities] == [
            (e.label, e.start, e.end) for e in expected.entities
        ]
        assert [(r["head"], r["tail"]) for r in row.found.relations] == [
            (r.head, r.tail) for r in expected.relations
        ]
        assert all(row.t[e.start : e.end] == e.text for e in row.found.entities)


def test_null_and_empty_texts_differ(answers):
    assert answers[1].found.state is None
    assert answers[2].found.state == "empty"
