"""Lexicon files: loading, filling in, and the bundled one's own consistency."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from spanlake.core.bio import WORD
from spanlake.core.labels import load_labels
from spanlake.errors import ConfigError
from spanlake.models.lexicon import Lexicon, compiled, load_lexicon, terms_of, trie_of

KIWI = load_labels("kiwi")
LEXICON = load_lexicon("kiwi")


def test_the_bundled_lexicon_names_labels_of_its_label_set_only() -> None:
    assert set(LEXICON.labels) <= set(KIWI.labels)
    assert set(LEXICON.labels) == set(KIWI.labels)


def test_the_bundled_lexicon_lists_no_term_twice_on_a_layer() -> None:
    listed = Counter(
        (KIWI.layer_of(label), " ".join(WORD.findall(term.casefold())))
        for label, terms in LEXICON.terms.items()
        for term in terms
    )
    assert [term for term, count in listed.items() if count > 1] == []


def test_the_bundled_lexicon_uses_every_set_and_part_it_defines() -> None:
    terms = " ".join(term for terms in LEXICON.terms.values() for term in terms)
    patterns = str([LEXICON.parts, LEXICON.patterns, LEXICON.after])
    assert [name for name in LEXICON.sets if f"<{name}>" not in terms] == []
    assert [name for name in LEXICON.parts if f"<{name}>" not in patterns] == []
    assert "<" not in "".join(t for _, t in terms_of(LEXICON))


def test_sets_are_filled_in_and_the_empty_member_leaves_no_blank() -> None:
    lexicon = Lexicon(
        name="x",
        sets={"side": ["", "left"], "part": ["knee", "hip"]},
        terms={"problem": ["<side> <part> pain"]},
    )
    assert list(terms_of(lexicon)) == [
        ("problem", "knee pain"),
        ("problem", "hip pain"),
        ("problem", "left knee pain"),
        ("problem", "left hip pain"),
    ]


def test_plurals_and_terms_without_their_last_dot_are_added() -> None:
    terms = {"test": ["biopsy", "A1"], "frequency": ["b.i.d."]}
    lexicon = Lexicon(name="x", terms=terms, plurals=["test"])
    assert [term for _, term in terms_of(lexicon)] == [
        *("biopsy", "biopsys", "biopsyes", "A1", "b.i.d.", "b.i.d")
    ]


def test_one_term_may_have_two_labels() -> None:
    trie = trie_of(Lexicon(name="x", terms={"problem": ["Burn"], "course": ["burn"]}))
    assert trie.following["burn"].labels == ("problem", "course")


def test_a_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lacks: \['side'\]"):
        list(terms_of(Lexicon(name="x", terms={"problem": ["<side> pain"]})))


def test_a_broken_pattern_is_refused() -> None:
    with pytest.raises(ConfigError, match="lexicon x"):
        compiled(Lexicon(name="x", terms={}), {"strength": ["("]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: x\nterms: {negation: [no]}\n", "valid string"),  # YAML reads a bare no as false
        ("name: x\nterms: {}\nterm: {}\n", "term"),
        ("name: [\n", "lexicon"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "wrong.yml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_lexicon(path)


def test_a_missing_lexicon_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(ConfigError, match="bundled: kiwi"):
        load_lexicon("kiwis")
