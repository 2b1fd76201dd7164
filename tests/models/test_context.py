from __future__ import annotations

from pathlib import Path

import pytest

from spanlake.core.bio import words
from spanlake.core.types import Unit
from spanlake.models.windows import cut

pytestmark = pytest.mark.model
pytest.importorskip("transformers", reason="make setup")

from spanlake.models.tokenization import WordTokenizer, load_word_tokenizer  # noqa: E402
from spanlake.models.windows import add_context, context_around  # noqa: E402


@pytest.fixture(scope="module")
def pieces(tiny_base: Path) -> WordTokenizer:
    return load_word_tokenizer(tiny_base)


def test_the_nearest_words_come_first_and_a_side_may_use_what_the_other_leaves(pieces) -> None:
    def ids(text: str) -> list[int]:
        return [piece for own in pieces.of(text.split()) for piece in own]

    left, right = "chest pain left pain", "mild pain"
    assert context_around(left, right, pieces, 100) == (ids(left), ids(right))
    before, after = context_around(left, right, pieces, 4)
    assert (before, after) == (ids(left)[-2:], ids(right)[:2])
    assert context_around(left, "", pieces, 3) == (ids(left)[-3:], [])
    assert context_around(left, right, pieces, 0) == ([], [])


def test_ends_of_lines_are_told_and_what_is_no_character_is_left_out(pieces) -> None:
    [separator] = pieces.after
    before, after = context_around("pain\n", "\n\ud800pain", pieces, 100)
    assert before[-1] == after[0] == separator
    assert before[:-1] == after[1:]


def test_a_long_target_is_read_with_nothing_around_it(pieces) -> None:
    for text, limit in (("mild pain", 30), ("mild pain " * 30, 16)):
        unit = Unit(text, "chest", "left")
        one = cut(text, words(text), pieces, limit=limit, stride=4)
        for own, (ids, where) in zip(
            one.sequences(), add_context(one, unit, pieces, limit), strict=True
        ):
            assert ids[where] == own
            around = len(ids) - len(own) - pieces.specials
            assert around == 2 * (len(one.windows) == 1)
