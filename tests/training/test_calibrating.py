from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_recipe import tiny_recipe

from gold_notes import NOTES

pytestmark = pytest.mark.model
pytest.importorskip("accelerate", reason="needs the train extra")
pytest.importorskip("openvino", reason="needs the cpu extra")

from spanlake.config.extract import ExtractorConfig  # noqa: E402
from spanlake.core.labels import load_labels  # noqa: E402
from spanlake.core.types import Unit  # noqa: E402
from spanlake.errors import ConfigError  # noqa: E402
from spanlake.models.tagger.calibration import Calibration, heat  # noqa: E402
from spanlake.models.tagger.extractor import OnePassTagger  # noqa: E402
from spanlake.scoring.judged import judged  # noqa: E402
from spanlake.scoring.score_extractor import scored_notes  # noqa: E402
from spanlake.training.calibrating import (  # noqa: E402
    Observed,
    fit_calibration,
    observe,
)
from spanlake.training.tagger import train_tagger  # noqa: E402

KIWI = load_labels("kiwi")
TEXTS = [gold.note.note_text for gold in NOTES]


def _load(folder: Path) -> OnePassTagger:
    values = {"kind": "tagger", "model": str(folder), "max_tokens": 32, "stride": 8}
    # Heat alone changes no entity; a threshold over heated scores does.
    return OnePassTagger(ExtractorConfig.model_validate(values | {"entity_threshold": 0.0}))


@pytest.fixture(scope="module")
def tagger(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> OnePassTagger:
    to = tmp_path_factory.mktemp("tagger")
    train_tagger(NOTES, [], tiny_recipe(tiny_base, to))
    return _load(to)


@pytest.mark.parametrize(("main", "pairs"), [(2.0, 1.5), (0.7, 1.0)])
def test_the_temperature_that_spoilt_the_shares_is_found(main: float, pairs: float) -> None:
    draw = np.random.default_rng(1)
    layers = [9, 33]
    shares = [draw.dirichlet(np.full(size, 0.3), 4000) for size in layers]
    truth = [np.eye(size)[[draw.choice(size, p=row) for row in part]]
             for size, part in zip(layers, shares, strict=True)]  # fmt: skip
    linked = draw.uniform(size=(4000, 1))
    related = (draw.uniform(size=(4000, 1)) < linked).astype(float)
    spoilt = Calibration((1 / main, 1.0), 1 / pairs)
    seen = Observed(
        spoilt.of_tags(np.concatenate(shares, axis=1), layers),
        np.concatenate(truth, axis=1),
        spoilt.of_pairs(linked),
        related,
    )
    found = fit_calibration([seen], KIWI)
    assert found.tags == pytest.approx((main, 1.0), rel=0.06)
    assert found.pairs == pytest.approx(pairs, rel=0.06)


def test_heat_keeps_the_order_and_the_sum_and_rows_of_zeros() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.0, 0.0, 0.0]])
    heated = heat(shares, 2.0)
    assert heated[0].sum() == pytest.approx(1.0)
    assert (np.diff(heated[0]) < 0).all()
    assert heated[0, 0] < 0.7
    assert not heated[1].any()
    assert heat(shares, 1.0) is shares


def test_what_is_observed_has_a_row_of_gold_a_seen_word(tagger: OnePassTagger) -> None:
    seen = observe(NOTES, tagger)
    assert seen.shares.shape == seen.tags.shape
    assert np.allclose(seen.tags.sum(axis=1), 2)
    assert np.allclose(seen.shares.sum(axis=1), 2)
    assert seen.linked.shape == seen.related.shape
    assert seen.related.sum() == sum(len(one.annotation.relations) for one in NOTES)


def test_a_tagger_tells_every_kind_of_probability(tagger: OnePassTagger) -> None:
    notes = scored_notes(NOTES, tagger)
    told = judged(notes, tagger.labels)
    assert list(told) == ["main spans", "modifier spans", "relations", "sentences"]
    spans = sum(len(told[f"{layer} spans"][0]) for layer in ("main", "modifier"))
    assert spans == sum(len(one.predicted.entities) for one in notes) > 0
    for sure, right in told.values():
        assert ((sure >= 0) & (sure <= 1)).all()
        assert len(sure) == len(right) > 0
    assert told["sentences"][1].any(), "it has learnt some sentences by heart"


def test_a_calibration_changes_scores_and_the_fingerprint_but_no_entity(
    tiny_base: Path, tagger: OnePassTagger, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(Calibration((3.0, 3.0), 3.0).as_dict()))
    train_tagger(NOTES, [], tiny_recipe(tiny_base, tmp_path / "t", calibration=str(path)))
    other = _load(tmp_path / "t")
    assert other.fingerprint != tagger.fingerprint
    units = [Unit(text) for text in TEXTS]
    for mine, theirs in zip(other.extract(units), tagger.extract(units), strict=True):
        assert [e.key for e in mine.entities] == [e.key for e in theirs.entities]
        assert mine.confidence < theirs.confidence or not mine.chars_seen


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"tags": "x"}', "no calibration"),
        ('{"tags": [1.5], "pairs": 2}', "2 temperatures of tags and one of pairs"),
        ('{"tags": [1.5, 0], "pairs": 2}', "above 0"),
        ('{"tags": [1.5, 2], "pairs": NaN}', "above 0"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(
    content: str, said: str, tiny_base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        train_tagger(NOTES, [], tiny_recipe(tiny_base, tmp_path / "t", calibration=str(path)))


def test_units_of_which_none_can_be_read_have_answers(tagger: OnePassTagger) -> None:
    [answer] = tagger.extract([Unit("fever \ud800 here")])
    assert (answer.outcome, answer.error_class) == ("unreadable", "UnicodeEncodeError")
    assert tagger.pair_scores([], []) == []
