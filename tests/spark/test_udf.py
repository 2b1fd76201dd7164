from __future__ import annotations

import pytest
from pyspark.errors import PythonException

from spanlake.config.extractors import extractor_config
from spanlake.core.labels import load_labels
from spanlake.core.types import Note
from spanlake.models.dictionary import Dictionary
from spanlake.predict import annotate
from spanlake.spark.udf import RESULT, register

TEXTS = ["No fever.\nTakes aspirin 81 mg daily.", None, "", "Severe headache \U0001f600 and cough."]


@pytest.fixture
def answers(spark):
    register(spark, extractor_config(kind="dictionary"))
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


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("5", "int"),
        ("CAST('fever' AS BINARY)", "bytes"),
        ("array('fever')", "ndarray"),
        ("DATE'2020-01-01'", "date"),
        ("named_struct('t', 'fever')", "several columns"),
        ("'fever', 'cough'", "several columns"),
    ],
)
def test_a_column_that_is_not_of_text_is_refused_in_one_line(spark, answers, argument, found):
    with pytest.raises(PythonException) as caught:
        spark.sql(f"SELECT spanlake_extract({argument})").collect()
    said = [line for line in str(caught.value).splitlines() if "DataError: " in line]
    assert said[0].endswith(
        f"DataError: spanlake_extract takes one column of text, found {found}:"
        " give CAST(x AS STRING), or decode(x, 'UTF-8') of bytes"
    )
    assert "Traceback" not in str(caught.value)
    assert "fever" not in str(caught.value)


def test_a_null_of_any_type_gives_nulls(spark, answers):
    for null in ("NULL", "CAST(NULL AS INT)", "CAST(NULL AS BINARY)"):
        [row] = spark.sql(f"SELECT spanlake_extract({null}) AS found").collect()
        assert row.found.asDict() == dict.fromkeys(RESULT.names)
