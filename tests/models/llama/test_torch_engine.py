"""Verification on tiny models of each family equals `generate()` in float32, id for id."""

from __future__ import annotations

import random
from typing import Any

import pytest

from spanlake.models.llama.markup import Answer, Source, SpanMarkup, WordSpan
from spanlake.models.llama.verification import Decoding, Request, decode

torch = pytest.importorskip("torch", reason="make setup")
transformers = pytest.importorskip("transformers", reason="make setup")

from spanlake.models.llama.torch_engine import TorchEngine  # noqa: E402

pytestmark = pytest.mark.model

END, VOCABULARY = 1, 60
OPENING = {"problem": (3, 5, 4), "test": (3, 6, 4)}
CLOSING = {"problem": (3, 7, 5, 4), "test": (3, 7, 6, 4)}
PREFIX = tuple(8 + i % 50 for i in range(20))
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 2,
    "eos_token_id": END,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "mistral": ("MistralConfig", {"sliding_window": 16}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "sliding_window": 16}),
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    name, more = FAMILIES[request.param]
    torch.manual_seed(5)
    config = getattr(transformers, name)(**SHAPE, **more)
    made = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in made.parameters():  # sharper than a fresh model: few ties, varied output
        parameter.data *= 3
    return made


def decodings(limit: int = 30) -> list[Decoding]:
    chance = random.Random(2)
    made = []
    for _ in range(12):
        words = [
            [chance.randrange(8, VOCABULARY) for _ in range(chance.randrange(1, 3))]
            for _ in range(chance.randrange(1, 9))
        ]
        source = Source.of(words)
        end = chance.randrange(1, len(words) + 1)
        drafted = [WordSpan(chance.randrange(end), end, "test")] if chance.random() < 0.7 else []
        answer = Answer(SpanMarkup(source, OPENING, CLOSING, (END,)))
        made.append(Decoding((*source.ids, 9, 10), answer, drafted, limit))
    return made


@pytest.mark.parametrize(("budget", "prefix_cache"), [(1, True), (400, True), (400, False)])
def test_free_answers_equal_generate(model, budget, prefix_cache):
    engine = TorchEngine(model, device="cpu", budget=budget, use_prefix_cache=prefix_cache)
    rows = decodings()
    decode(engine, PREFIX, rows, (END,), constrained=False)
    for row in rows:
        ids = torch.tensor([[*PREFIX, *row.prompt]])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=30, do_sample=False
        )
        assert row.accepted == expected[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("budget", [1, 400])
def test_constrained_answers_do_not_depend_on_draft_batch_or_cache(model, budget):
    rows = decodings(limit=400)
    decode(TorchEngine(model, device="cpu", budget=budget), PREFIX, rows, (END,))
    assert all(row.answer.done for row in rows)
    plain = TorchEngine(model, device="cpu", use_prefix_cache=False)
    for row in rows:
        answer = Answer(row.answer.format)
        while not answer.done:
            ids = (*row.prompt, *answer.ids)
            [choices] = plain.judge(PREFIX, [Request(ids, (), [answer.legal()])])
            answer.step(choices.ids[0])
        assert row.accepted == answer.ids


def test_the_prefix_is_computed_once_and_never_grows(model):
    engine = TorchEngine(model, device="cpu")
    first = engine.judge(PREFIX, [Request((9, 10, 11), (12, 13))] * 3)
    cache = engine._frozen(PREFIX)
    assert engine.judge(PREFIX, [Request((9, 10, 11), (12, 13))] * 3) == first
    assert engine._frozen(PREFIX) is cache
    assert cache.get_seq_length() == len(PREFIX) or model.config.model_type == "gemma3_text"
