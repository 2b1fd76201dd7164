"""The engine over vLLM's interface, played by a model that is a hash: no vLLM is installed here."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace
from typing import Any

import pytest

from spanlake.errors import ModelError
from spanlake.models.llama.markup import Answer, Source, SpanMarkup, WordSpan
from spanlake.models.llama.verification import Decoding, decode
from spanlake.models.llama.vllm_engine import LISTED, VllmEngine, load_vllm

END, VOCABULARY = 0, 60
OPENING = {"problem": (1, 4, 3), "test": (1, 5, 3)}
CLOSING = {"problem": (1, 2, 4, 3), "test": (1, 2, 5, 3)}
PREFIX = (9, 8)


def scores(ids: tuple[int, ...]) -> dict[int, float]:
    chance = random.Random(repr(ids))
    return {token: math.log(chance.random() + 1e-9) for token in range(VOCABULARY)}


def listed(values: dict[int, float], given: int | None = None) -> dict[int, Any]:
    """As vLLM lists: the most probable ids, and the given one whatever its rank."""
    best = sorted(values, key=lambda token: -values[token])[:LISTED]
    kept = [*best, *([given] if given is not None and given not in best else [])]
    return {token: SimpleNamespace(logprob=values[token]) for token in kept}


class Recorded:
    """`vllm.LLM.generate` as far as the engine uses it."""

    def generate(self, prompts, parameters, use_tqdm, lora_request):
        assert not use_tqdm and lora_request == "adapter"
        return [
            self._one(tuple(p["prompt_token_ids"]), s)
            for p, s in zip(prompts, parameters, strict=True)
        ]

    def _one(self, ids, wanted):
        rows = None
        if wanted.get("prompt_logprobs"):
            rows = [None, *(listed(scores(ids[:i]), ids[i]) for i in range(1, len(ids)))]
        chosen: list[int] = []
        lists = []
        while len(chosen) < wanted["max_tokens"]:
            values = scores((*ids, *chosen))
            allowed = wanted["allowed_token_ids"]
            values = {t: v for t, v in values.items() if not allowed or t in allowed}
            chosen.append(max(values, key=lambda token: values[token]))
            lists.append(listed(values, chosen[-1]))
            if chosen[-1] in wanted.get("stop_token_ids", ()):
                break
        output = SimpleNamespace(token_ids=chosen, logprobs=lists)
        return SimpleNamespace(prompt_logprobs=rows, outputs=[output])


def rows(limit: int = 60) -> list[Decoding]:
    chance = random.Random(4)
    made = []
    for _ in range(12):
        words = [[chance.randrange(6, VOCABULARY)] for _ in range(chance.randrange(1, 6))]
        source = Source.of(words)
        drafted = [WordSpan(0, 1, "test")] if chance.random() < 0.5 else []
        answer = Answer(SpanMarkup(source, OPENING, CLOSING, (END,)))
        made.append(Decoding(source.ids, answer, drafted, limit))
    return made


def engine() -> VllmEngine:
    return VllmEngine(Recorded(), dict, "adapter")


def test_constrained_answers_are_the_best_legal_ids_step_by_step():
    made = rows(limit=400)
    decode(engine(), PREFIX, made, (END,))
    for row in made:
        answer = Answer(row.answer.format)
        while not answer.done:
            values = scores((*PREFIX, *row.prompt, *answer.ids))
            answer.step(max(answer.legal(), key=lambda token: values[token]))
        assert row.accepted == answer.ids
    assert all(row.answer.done for row in made)


@pytest.mark.parametrize("constrained", [True, False])
def test_drafts_change_no_answer(constrained):
    drafted, plain = rows(), rows()
    decode(engine(), PREFIX, drafted, (END,), constrained=constrained)
    decode(engine(), PREFIX, plain, (END,), constrained=constrained, drafts=False)
    assert [row.accepted for row in drafted] == [row.accepted for row in plain]
    assert [row.margins for row in drafted] == [pytest.approx(row.margins) for row in plain] or (
        constrained  # of ids that vLLM does not list the lead is not known
    )


def test_without_vllm_the_error_says_so():
    with pytest.raises(ModelError, match="vllm"):
        load_vllm("base", None, "none", 1024)
