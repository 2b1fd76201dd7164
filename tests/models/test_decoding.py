from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.bio import legal, tag_names, words
from spanlake.core.labels import load_labels
from spanlake.errors import ConfigError, ModelError
from spanlake.models.decoding import best_path, check_label_map, split_prefix, tag_decoder

KIWI = load_labels("kiwi")
TAGS = tag_names(["problem", "test"])
STEPS = np.array([[0.0 if legal(a, b) else -np.inf for b in TAGS] for a in TAGS])


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_path_is_legal_and_no_legal_path_scores_higher(seed: int, count: int) -> None:
    emissions = np.log(np.random.default_rng(seed).dirichlet(np.ones(len(TAGS)), count))
    path = best_path(emissions, STEPS)

    def score(tags: tuple[int, ...]) -> float:
        moves = sum(STEPS[a, b] for a, b in itertools.pairwise((0, *tags)))
        return moves + emissions[range(count), tags].sum()

    best = max(score(tags) for tags in itertools.product(range(len(TAGS)), repeat=count))
    assert score(tuple(path)) == pytest.approx(best)


def _decode(text: str, classes: list[str], rows: list[dict[str, float]], **options):
    decoder = tag_decoder(classes, options.pop("label_map", {}), KIWI, "main")
    probabilities = np.array([[row.get(name, 0.0) for name in classes] for row in rows])
    seen = np.array(options.pop("seen", [True] * len(rows)))
    found, _ = decoder.read(text, words(text), probabilities, seen)
    return [(e.start, e.end, e.label, e.score) for e in found]


BIO = ["O", "B-problem", "I-problem", "B-test", "I-test"]


def test_an_entity_is_as_probable_as_its_words_and_label_among_all_legal_readings() -> None:
    rows = [{"O": 1.0}, {"B-problem": 0.9, "O": 0.1}, {"I-problem": 0.6, "O": 0.4}]
    # O B I: 0.54, O B O: 0.36, O O O: 0.04; O O I is not legal
    assert _decode("has chest pain", BIO, rows) == [(4, 14, "problem", round(0.54 / 0.94, 6))]


def test_a_reading_is_as_probable_as_its_path() -> None:
    probabilities = np.array([[0.1, 0.9, 0.0, 0.0, 0.0], [0.4, 0.0, 0.6, 0.0, 0.0]])
    decoder = tag_decoder(BIO, {}, KIWI, "main")
    _, sure = decoder.read("chest pain", words("chest pain"), probabilities, np.array([True, True]))
    assert sure == pytest.approx(0.54 / 0.94)
    assert decoder.read("", [], np.zeros((0, 5)), np.array([], dtype=bool)) == ([], 1.0)


def test_an_entity_below_the_threshold_is_left_out_and_the_rest_read_without_it() -> None:
    classes = ["O", "B-problem", "I-problem", "B-test"]
    decoder = tag_decoder(classes, {}, KIWI, "main")
    text = "chest pain . CT"
    probabilities = np.array([[0.4, 0.6, 0, 0], [0.3, 0, 0.7, 0], [1, 0, 0, 0], [0.1, 0, 0, 0.9]])
    everything, _ = decoder.read(text, words(text), probabilities, np.full(4, True))
    surer, sure = decoder.read(text, words(text), probabilities, np.full(4, True), 0.8)
    assert [e.text for e in everything] == ["chest pain", "CT"]
    assert [e.text for e in surer] == ["CT"]
    legal_total = 0.6 + 0.4 * 0.3  # "pain" cannot go on where nothing began
    assert sure == pytest.approx(0.4 * 0.3 * 0.9 / legal_total)


def test_an_inside_tag_never_opens_an_entity() -> None:
    rows = [{"O": 0.6, "B-problem": 0.4}, {"I-problem": 0.9, "O": 0.1}]
    assert _decode("chest pain", BIO, rows) == [(0, 10, "problem", round(0.36 / 0.46, 6))]


def test_a_word_without_pieces_goes_with_the_entity_around_it_and_else_stays_outside() -> None:
    text = "\u200d chest \u200d pain \u200d"
    rows = [{}, {"B-problem": 1.0}, {}, {"I-problem": 1.0}, {}]
    seen = [False, True, False, True, False]
    assert _decode(text, BIO, rows, seen=seen) == [(2, 14, "problem", 1.0)]
    assert _decode("\u200d", BIO, [{}], seen=[False]) == []


def test_in_an_io_scheme_neighbours_of_one_label_are_one_entity() -> None:
    rows = [{"problem": 0.9}, {"problem": 0.8}, {"test": 0.9}, {"O": 0.9}, {"problem": 0.7}]
    found = _decode("a b c d e", ["O", "problem", "test"], rows)
    assert found == [(0, 3, "problem", 1.0), (4, 5, "test", 1.0), (8, 9, "problem", 1.0)]


def test_bioes_tags_are_read_as_bio() -> None:
    classes = ["O", "B-problem", "I-problem", "E-problem", "S-problem"]
    rows = [{"B-problem": 1}, {"E-problem": 1}, {"S-problem": 1}, {"S-problem": 1}]
    found = _decode("a b c d", classes, rows)
    assert [f[:2] for f in found] == [(0, 3), (4, 5), (6, 7)]


def test_a_label_map_renames_a_checkpoints_classes_and_the_rest_is_outside() -> None:
    classes = ["O", "B-PROB", "I-PROB", "B-AGE", "LABEL_7"]
    rows = [{"B-PROB": 1.0}, {"B-AGE": 1.0}, {"LABEL_7": 1.0}]
    label_map = {"PROB": "problem", "LABEL_7": "B-test"}
    found = _decode("pain 50 mri", classes, rows, label_map=label_map)
    assert found == [(0, 4, "problem", 1.0), (8, 11, "test", 1.0)]


def test_a_checkpoint_that_fits_no_label_is_refused_with_its_classes() -> None:
    with pytest.raises(ModelError, match=r"classes: O, B-PER, I-PER.*use extractor\.label_map"):
        tag_decoder(["O", "B-PER", "I-PER"], {}, KIWI, "main")


def test_a_label_map_to_an_unknown_label_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="probelm"):
        check_label_map({"PROB": "probelm"}, KIWI)
    check_label_map({"PROB": "problem", "X": "O", "LABEL_1": "hasAttr", "B": "B-test"}, KIWI)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("B-problem", ("B", "problem")),
        ("I_PROB", ("I", "PROB")),
        ("O", ("", "O")),
        ("LABEL_0", ("", "LABEL_0")),
        ("B-DNA-part", ("B", "DNA-part")),
    ],
)
def test_prefixes_are_split_from_labels(name: str, parts: tuple[str, str]) -> None:
    assert split_prefix(name) == parts
