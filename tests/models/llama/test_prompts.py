"""Prompts are made of the label set, and no note can get out of its place in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.errors import ModelError

transformers = pytest.importorskip("transformers", reason="make setup")

from spanlake.models.llama.prompts import (  # noqa: E402
    Prompts,
    attribute_of,
    attribute_tag,
)
from spanlake.models.tokenization import checkpoint_tokenizer  # noqa: E402

pytestmark = pytest.mark.model
KIWI = load_labels("kiwi")


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return checkpoint_tokenizer(tiny_llama, add_prefix_space=False)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return Prompts(tokenizer, KIWI, "llama_markup", "short")


def test_a_prompt_names_every_label(tokenizer):
    for style in ("short", "instruct"):
        prompts = Prompts(tokenizer, KIWI, "llama_markup", style)
        text = tokenizer.decode(prompts.entity_tasks["main"].prefix)
        assert all(label in text for label in KIWI.main)
        assert (KIWI.main["drug"] in text) == (style == "instruct")
        for head, tails in KIWI.pairs.items():
            text = tokenizer.decode(prompts.attribute_tasks[head].prefix)
            assert all(tail in text for tail in (head, *tails))


def test_bio_lines_have_a_task_for_each_layer_and_none_for_attributes(tokenizer):
    prompts = Prompts(tokenizer, KIWI, "llama_bio", "short")
    assert set(prompts.entity_tasks) == {"main", "modifier"}
    assert prompts.attribute_tasks == {}
    assert set(prompts.entity_tasks["main"].tags) == {
        "O",
        *(f"{p}-{label}" for label in KIWI.main for p in "BI"),
    }


@given(text=st.text(alphabet=st.sampled_from("ab <>/s|problem\t\n\u00e9\U0001f600 \u3000.@SOURCE")))
def test_a_text_is_tokenized_without_loss_and_without_special_tokens(prompts, tokenizer, text):
    text_words = words(text)
    source = prompts.source(text, text_words)
    end = text_words[-1].end if text_words else 0
    assert tokenizer.decode(source.ids, clean_up_tokenization_spaces=False) == text[:end]
    assert not set(source.ids) & set(tokenizer.all_special_ids)
    assert len(source.first) == len(text_words)


def test_the_marked_entity_is_told_from_an_equal_one_by_its_place(prompts, tokenizer):
    text = "pain and pain"
    source = prompts.source(text, words(text))
    marked = prompts.marked(source, 2, 3, "problem")
    assert tokenizer.decode(marked) == "pain and<problem> pain</problem>"


def test_a_tokenizer_that_loses_characters_is_refused(tiny_base):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_base, eos_token="[SEP]")
    with pytest.raises(ModelError, match="does not give a text back"):
        Prompts(tokenizer, KIWI, "llama_markup", "short")


def test_a_tokenizer_without_an_end_is_refused(tokenizer):
    import copy

    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence"):
        Prompts(endless, KIWI, "llama_markup", "short")


def test_a_tag_names_the_relation_where_there_are_several():
    chemprot = load_labels("chemprot")
    assert attribute_of(KIWI, "negation") == ("negation", "hasAttr")
    head, tails = next(iter(chemprot.pairs.items()))
    relation = next(iter(chemprot.relations))
    assert attribute_of(chemprot, attribute_tag(chemprot, tails[0], relation)) == (
        tails[0],
        relation,
    )
    assert head in chemprot.labels
