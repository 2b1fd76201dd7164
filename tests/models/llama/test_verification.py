"""Verified drafts give the model's own greedy answer, whatever the draft, batch or cache."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from spanlake.models.llama.markup import Answer, Ids, Source, SpanMarkup, WordSpan
from spanlake.models.llama.verification import Decoding, Engine, Judged, Legal, Request, decode
from spanlake.models.stats import Stats

END = 0
OPENING = {"problem": (1, 4, 3), "test": (1, 5, 3)}
CLOSING = {"problem": (1, 2, 4, 3), "test": (1, 2, 5, 3)}
VOCABULARY = 40


class HashedModel:
    """A model whose next id is a hash of all ids before it; likely to be one of the legal ids."""

    device = "cpu"

    def __init__(self, bias: Sequence[int] = ()) -> None:
        self.stats = Stats()
        self.bias = bias

    def next(self, ids: Ids, legal: list[int] | None) -> int:
        chance = random.Random(repr(ids))
        return chance.choice(legal) if legal else chance.choice([*self.bias, *range(VOCABULARY)])

    def judge(self, prefix: Ids, requests: Sequence[Request]) -> list[Judged]:
        answers = []
        for request in requests:
            places = range(len(request.draft) + 1)
            ids = [
                self.next(
                    (*prefix, *request.ids, *request.draft[:place]),
                    request.legal[place] if request.legal else None,
                )
                for place in places
            ]
            answers.append(Judged(ids, [1.0] * len(ids)))
        return answers

    def finish(
        self, prefix: Ids, ids: Ids, limit: int, end: Ids, legal: Legal | None = None
    ) -> Judged:
        chosen: list[int] = []
        while len(chosen) < limit and (not chosen or chosen[-1] not in end):
            chosen.append(self.next((*prefix, *ids, *chosen), legal(chosen) if legal else None))
        return Judged(chosen, [1.0] * len(chosen))


def sentences(count: int) -> list[Source]:
    chance = random.Random(3)
    return [
        Source.of(
            [
                [chance.randrange(6, VOCABULARY) for _ in range(chance.randrange(1, 3))]
                for _ in range(chance.randrange(8))
            ]
        )
        for _ in range(count)
    ]


def answer_to(source: Source) -> Answer:
    return Answer(SpanMarkup(source, OPENING, CLOSING, (END,)))


def some_entities(source: Source, seed: int) -> list[WordSpan]:
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(len(source.first) + 1), k=min(2, len(source.first))))
    return [WordSpan(cuts[0], cuts[1], "test")] if len(cuts) == 2 else []


def stepwise(engine: Engine, prompt: Ids, source: Source) -> list[int]:
    """Constrained greedy decoding, one id per pass."""
    answer = answer_to(source)
    while not answer.done:
        [choices] = engine.judge((9,), [Request((*prompt, *answer.ids), (), [answer.legal()])])
        answer.step(choices.ids[0])
    return answer.ids


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_constrained_answers_do_not_depend_on_the_draft(seed):
    sources = sentences(30)
    decodings = [
        Decoding(
            source.ids, answer_to(source), some_entities(source, seed) if seed else (), limit=400
        )
        for source in sources
    ]
    engine = HashedModel()
    decode(engine, (9,), decodings, (END,))
    assert all(decoding.answer.done and not decoding.answer.fault for decoding in decodings)
    expected = [stepwise(HashedModel(), source.ids, source) for source in sources]
    assert [decoding.accepted for decoding in decodings] == expected
    assert engine.stats.passes < sum(map(len, expected))
    assert 0 < engine.stats.accepted_tokens <= engine.stats.drafted_tokens


def test_free_answers_are_the_greedy_ones_and_illegal_ones_are_stepped_to_their_end():
    sources = sentences(30)
    decodings = [Decoding(source.ids, answer_to(source), limit=25) for source in sources]
    engine = HashedModel(bias=[END] * 80)
    decode(engine, (9,), decodings, (END,), constrained=False)
    plain = HashedModel(bias=[END] * 80)
    for source, decoding in zip(sources, decodings, strict=True):
        assert decoding.accepted == plain.finish((9,), source.ids, 25, (END,)).ids
    faults = {decoding.answer.fault for decoding in decodings}
    assert faults & {"altered", "truncated"} and None in faults
    assert engine.stats.stepped_rows == sum(d.answer.fault is not None for d in decodings)


def test_an_endless_answer_stops_at_its_limit():
    class Opening(HashedModel):
        def next(self, ids: Ids, legal: list[int] | None) -> int:
            return 7

    source = Source.of([[7]] * 50)
    decoding = Decoding(source.ids, answer_to(source), limit=10)
    decode(Opening(), (), [decoding], (END,), constrained=False)
    assert decoding.answer.fault == "endless" and len(decoding.accepted) == 10
