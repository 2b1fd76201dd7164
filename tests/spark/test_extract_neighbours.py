"""A model that sees neighbours: the job plans, reads and derives the same units as the library."""

from __future__ import annotations

from pathlib import Path

import pytest

from gold_notes import NOTES as GOLD
from tiny_models import tiny_base

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.extractors import ExtractorConfig, extractor_config  # noqa: E402
from spanlake.config.train import TaggerTrainConfig  # noqa: E402
from spanlake.core.types import Note  # noqa: E402
from spanlake.models import load_extractor  # noqa: E402
from spanlake.predict import annotate  # noqa: E402
from spanlake.spark.extract import extract  # noqa: E402
from spanlake.spark.ingest import ingest  # noqa: E402
from spanlake.training.tagger import train_tagger  # noqa: E402

__all__ = ["tiny_base"]

NOTES = {
    "a": "Patient denies chest pain. Metformin 500 mg twice daily.",
    "b": "Metformin 500 mg twice daily. Patient denies chest pain.\nNo change.",
}


@pytest.fixture(scope="module")
def extractor(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> ExtractorConfig:
    shape = {"max_tokens": 32, "stride": 8}
    to = str(tmp_path_factory.mktemp("neighbours") / "tagger")
    rates = {
        "learning_rate": 1e-2,
        "epochs": 12,
        "max_tokens_per_batch": 64,
        "max_packed_sentences": 3,
    }
    recipe = {"model": str(tiny_base), "train_data": "notes", "output_dir": to, **shape, **rates}
    train_tagger(GOLD, [], TaggerTrainConfig.model_validate(recipe))
    reading = {"model": to, "entity_threshold": 0.0, "context": 1, **shape}
    return extractor_config(**reading)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["driver", pytest.param("spark", marks=pytest.mark.long)])
def test_equal_sentences_are_read_with_their_own_neighbours(tables, source, config, extractor):
    ingest(tables, source(NOTES))
    facts = extract(tables, config(extractor=extractor.model_dump(), slices=2))
    assert facts["units_read"] == facts["units"] == 5, "no two have the same neighbours"
    notes = [Note(note_id, text) for note_id, text in NOTES.items()]
    results = annotate(notes, load_extractor(extractor), "")
    expected = sorted(
        (note.note_id, e.label, e.start, e.end, e.score)
        for note, result in zip(notes, results, strict=True)
        for e in result.entities
    )
    columns = ("note_id", "label", "start", "end", "score")
    found = sorted(tuple(row) for row in tables.read("entities").select(*columns).collect())
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    assert expected
    assert [row[4] for row in found] == pytest.approx([row[4] for row in expected], abs=1e-4)
