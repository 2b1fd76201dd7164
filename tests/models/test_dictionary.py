"""What the dictionary extractor finds: whole words of the original text, on two flat layers."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Unit
from spanlake.errors import ConfigError
from spanlake.models import Extractor
from spanlake.models.dictionary import Dictionary

KIWI = load_labels("kiwi")
DICTIONARY = Dictionary(KIWI)

PIECES = [
    *("no", "Fever", "chills,", "LEFT knee pain", "left knee", "but", "denies", "severe", "mother"),
    *("Lisinopril", "10 mg", "p.o.", "b.i.d.", "potassium", "7.2 mg/dL", "(ref 3.5-5.1)", "CT of"),
    *(
        "the head",
        "chest\u00a0pain",
        "since",
        "03/12/2020",
        "for 3 days",
        "İ",
        "ß",
        "😀",
        "e\u0301",
    ),
    *(
        "pain\u0301",
        "x_1",
        "1,500",
        ".5 mg",
        "\r\n",
        "\x0b",
        "handed",
        "painting",
        "q6h",
        "\t",
        ".",
    ),
]
GAPS = ["\u00a0", "\x0c", "\x0b", "\r\n", "\n", "\t", "  ", "\u2003", "\x85"]
NOTES = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
)


def found(text: str) -> list[tuple[str, str]]:
    """Return (text, label) of each entity, in order."""
    [extraction] = DICTIONARY.extract([Unit(text)])
    assert extraction.outcome == "ok"
    assert extraction.chars_seen == len(text)
    return [(entity.text, entity.label) for entity in extraction.entities]


def spans(text: str, label: str) -> list[tuple[int, int]]:
    [extraction] = DICTIONARY.extract([Unit(text)])
    return [(e.start, e.end) for e in extraction.entities if e.label == label]


def test_it_is_an_extractor_that_counts_its_words() -> None:
    extractor: Extractor = Dictionary(KIWI)
    extractor.extract([Unit("No fever."), Unit("")])
    taken = extractor.stats.take()
    assert (taken.tokens, taken.batches) == (3, 1)
    assert extractor.stats.tokens == 0


def test_an_empty_or_blank_target_is_read_and_holds_nothing() -> None:
    assert found("") == found(" \r\n\t") == []


def test_no_units_give_no_extractions() -> None:
    assert DICTIONARY.extract([]) == []


def test_every_repeated_mention_is_found_where_it_stands() -> None:
    assert spans("fever, Fever and FEVER", "problem") == [(0, 5), (7, 12), (17, 22)]


@pytest.mark.parametrize("text", ["She handed him a painting.", "feverfew", "pain_free", "xpain"])
def test_a_term_inside_a_word_is_no_mention(text: str) -> None:
    assert found(text) == []


def test_the_mention_is_found_beside_words_that_hold_it() -> None:
    assert found("painting, painful, pain") == [("pain", "problem")]


def test_the_longest_term_wins_within_a_layer() -> None:
    assert found("substernal chest pain")[0] == ("substernal chest pain", "problem")
    assert [label for _, label in found("metoprolol succinate")] == ["drug"]


def test_a_body_part_nests_in_its_problem() -> None:
    assert found("left knee pain") == [("left knee pain", "problem"), ("left knee", "bodyloc")]


def test_a_body_part_does_not_nest_in_a_test_which_cannot_have_one() -> None:
    assert found("CT of the head") == [("CT of the head", "test")]


def test_only_labels_said_to_nest_do(tmp_path: Path) -> None:
    path = tmp_path / "small.yml"
    terms = {"problem": ["do not resuscitate"], "negation": ["not"], "course": ["resuscitate"]}
    path.write_text(json.dumps({"name": "small", "terms": terms, "nested": ["course"]}))
    [extraction] = Dictionary(KIWI, path).extract([Unit("Do not resuscitate")])
    assert [entity.label for entity in extraction.entities] == ["problem", "course"]


def test_a_modifier_without_an_entity_that_could_have_it_is_left_out_but_for_times() -> None:
    assert found("He walks daily, mild weather, since 2019-05-04.") == [("2019-05-04", "temporal")]


@pytest.mark.parametrize("before", ["İ ", "İİİ", "😀 ", "e\u0301 ", "ﬁ ", "ẞ", "👩‍⚕️", "Ω̈ "])
def test_characters_that_change_length_do_not_shift_offsets(before: str) -> None:
    text = f"{before}, no chest pain {before} today"
    start = text.index("chest")
    assert spans(text, "problem") == [(start, start + len("chest pain"))]


def test_a_combining_accent_ends_a_word_as_the_word_pattern_says() -> None:
    assert found("pain\u0301") == [("pain", "problem")]


@pytest.mark.parametrize(
    "gap", ["\u00a0", "\x0c", "\x0b", "\r\n", "\n", "\t", "  ", "\u2003", "\x85"]
)
def test_any_whitespace_may_stand_within_and_around_a_mention(gap: str) -> None:
    mention = f"LEFT{gap}knee{gap}Pain"
    assert found(f"no{gap}{mention}{gap}") == [
        ("no", "negation"),
        (mention, "problem"),
        (f"LEFT{gap}knee", "bodyloc"),
    ]
    assert found(f"Lisinopril{gap}10{gap}mg{gap}every{gap}6{gap}hours") == [
        ("Lisinopril", "drug"),
        (f"10{gap}mg", "strength"),
        (f"every{gap}6{gap}hours", "frequency"),
    ]


@given(NOTES)
@example("İ" * 3 + "left\u00a0knee pain, no fever")
@example("\x1c\x1dfever\x1c")
def test_any_text_gives_whole_words_on_flat_layers_and_allowed_relations(text: str) -> None:
    [extraction] = DICTIONARY.extract([Unit(text)])
    starts, ends = {w.start for w in words(text)}, {w.end for w in words(text)}
    for entity in extraction.entities:
        assert text[entity.start : entity.end] == entity.text
        assert entity.start in starts
        assert entity.end in ends
    assert not any(
        a.span.overlaps(b.span)
        for a, b in itertools.combinations(extraction.entities, 2)
        if KIWI.layer_of(a.label) == KIWI.layer_of(b.label)
    )
    for relation in extraction.relations:
        head, tail = extraction.entities[relation.head], extraction.entities[relation.tail]
        assert KIWI.allows(head.label, tail.label)
        assert relation.label == "hasAttr"


@given(st.lists(NOTES, max_size=6))
def test_a_unit_s_answer_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    units = [Unit(text) for text in texts]
    assert DICTIONARY.extract(units) == [DICTIONARY.extract([unit])[0] for unit in units]


@given(NOTES)
def test_linking_the_entities_found_gives_the_relations_found(
    text: str,
) -> None:
    [extraction] = DICTIONARY.extract([Unit(text)])
    assert DICTIONARY.score_relations([Unit(text)], [extraction.entities]) == [
        list(extraction.relations)
    ]


def test_context_and_section_do_not_change_the_answer() -> None:
    plain, around = Unit("No fever."), Unit("No fever.", left="Mother: ", section="FAMILY HISTORY")
    [first], [second] = DICTIONARY.extract([plain]), DICTIONARY.extract([around])
    assert first == second


def test_a_golden_answer_guards_the_extractor_version() -> None:
    """When this changes with the lexicon as it is, raise EXTRACTOR_VERSION."""
    text = "Denies fever; takes aspirin 81 mg p.o. daily for severe left knee pain."
    [extraction] = DICTIONARY.extract([Unit(text)])
    assert [(e.text, e.label) for e in extraction.entities] == [
        ("Denies", "negation"),
        ("fever", "problem"),
        ("aspirin", "drug"),
        ("81 mg", "strength"),
        ("p.o.", "route"),
        ("daily", "frequency"),
        ("severe", "severity"),
        ("left knee pain", "problem"),
        ("left knee", "bodyloc"),
    ]
    pairs = [(relation.head, relation.tail) for relation in extraction.relations]
    assert pairs == [(1, 0), (2, 3), (2, 4), (2, 5), (7, 6), (7, 8)]
    assert {entity.score for entity in extraction.entities} == {1.0}


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    code = (
        "from spanlake.core.labels import load_labels; from spanlake.models.dictionary import "
        "Dictionary; print(Dictionary(load_labels('kiwi')).fingerprint)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == DICTIONARY.fingerprint


def test_the_fingerprint_follows_lexicon_labels_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, other = tmp_path / "small.yml", tmp_path / "other.yml"
    small.write_text("name: small\nterms: {problem: [fever]}\n")
    other.write_text("name: small\nterms: {problem: [fever, cough]}\n")
    seen = {Dictionary(KIWI, path).fingerprint for path in (small, other)}
    fewer = {head: tails for head, tails in KIWI.pairs.items() if head != "drug"}
    seen.add(Dictionary(KIWI.model_copy(update={"pairs": fewer}), small).fingerprint)
    same = Dictionary(KIWI.model_copy(update={"source": "elsewhere"}), small).fingerprint
    assert same in seen, "words about a label set change no answer"
    monkeypatch.setattr("spanlake.models.dictionary.EXTRACTOR_VERSION", "next")
    seen.add(Dictionary(KIWI, small).fingerprint)
    monkeypatch.setattr("spanlake.models.dictionary.RULE_VERSION", 99)
    seen.add(Dictionary(KIWI, small).fingerprint)
    assert len(seen) == 5
    assert all(len(fingerprint) == 64 for fingerprint in seen)


def test_comments_in_a_lexicon_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    plain, remarked = tmp_path / "plain.yml", tmp_path / "remarked.yml"
    plain.write_text("name: small\nterms: {problem: [fever]}\n")
    remarked.write_text("# a remark\nname: small\nterms:\n  problem: [fever]\n")
    assert Dictionary(KIWI, plain).fingerprint == Dictionary(KIWI, remarked).fingerprint


def test_a_lexicon_of_other_labels_is_refused_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "genes.yml"
    path.write_text(json.dumps({"name": "genes", "terms": {"Gene": ["BRCA1"]}}))
    with pytest.raises(ConfigError, match="lacks: Gene"):
        Dictionary(KIWI, path)
    with pytest.raises(ConfigError, match="label set 'bc5cdr'"):
        Dictionary(load_labels("bc5cdr"))
