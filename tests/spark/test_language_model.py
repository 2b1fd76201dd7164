"""A language model on Spark: the rows that the library gives, and what `timings` counts."""

from __future__ import annotations

import pytest

from spanlake.config.extractors import extractor_config
from spanlake.core.types import Note
from spanlake.models import load_extractor
from spanlake.predict import annotate
from spanlake.spark.extract import extract
from spanlake.spark.ingest import ingest
from tiny_models import tiny_llama

pytestmark = [pytest.mark.model, pytest.mark.slow]

__all__ = ["tiny_llama"]

NOTES = {"a": "Patient denies chest pain. Metformin 500 mg.", "b": "No <problem>pain</problem>."}


@pytest.mark.parametrize("way", ["driver", pytest.param("spark", marks=pytest.mark.long)])
def test_the_job_and_the_library_give_the_same_rows(tables, source, config, tiny_llama):
    draft = {"kind": "dictionary"}
    values = {"kind": "llama_markup", "model": str(tiny_llama), "prompt": "short", "draft": draft}
    ingest(tables, source(NOTES))
    extract(tables, config(extractor=values, slices=1))
    notes = [Note(note_id, text) for note_id, text in NOTES.items()]
    results = annotate(notes, load_extractor(extractor_config(**values)), "")
    expected = sorted(
        (note.note_id, e.label, e.start, e.end)
        for note, result in zip(notes, results, strict=True)
        for e in result.entities
    )
    columns = ("note_id", "label", "start", "end")
    rows = sorted(tuple(row) for row in tables.read("entities").select(*columns).collect())
    assert rows == expected and rows
    [timing] = tables.view("timings").collect()
    assert timing.passes > 0 and timing.generated_tokens > 0 and timing.drafted_tokens > 0
    assert timing.energy_joules is None and timing.energy_source == "not measured on a CPU"
    answers = tables.read("extractions").select("confidence").collect()
    assert all(0 <= row.confidence <= 1 for row in answers)
