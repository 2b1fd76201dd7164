"""Greedy decoding by verified drafts: the model's own answer in a few passes, not one per id.

Each round sends every open answer once through the model, as `prompt + accepted + draft`, keeps the
part of the draft that the model agrees with and the one id that it puts in place of the next, and
drafts the rest again from there. No round uses another round's cache, so rows of any round travel
in the same batches. The result is greedy-consistent: every id is the argmax given those before it.
In float32 it equals `generate()`; in bfloat16 two ids that tie can fall either way with the shape
of the batch, so ties are counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from spanlake.models.decoding import SCORE_DIGITS
from spanlake.models.llama.markup import Answer, Ids, WordSpan
from spanlake.models.stats import Stats

TIE = 2.0**-6  # logits closer than this are a tie in bfloat16


@dataclass(frozen=True, slots=True)
class Request:
    """A row to judge: ids that stand, a draft of what follows, and the legal ids at each place.

    `legal` has one list for each id of the draft and one for the id after it; None scores the whole
    vocabulary.
    """

    ids: Ids
    draft: Ids
    legal: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.ids) + len(self.draft)


@dataclass(frozen=True, slots=True)
class Judged:
    """The model's choice at each place of a draft and after it, given the ids before that place.

    `margins` are the differences between the two best logits; infinite where one id is legal.
    """

    ids: list[int]
    margins: list[float]


Legal = Callable[[Sequence[int]], list[int]]


class Engine(Protocol):
    """What runs the language model. `prefix` is what all rows of a call begin with."""

    stats: Stats
    device: str

    def judge(self, prefix: Ids, requests: Sequence[Request]) -> list[Judged]: ...

    def finish(
        self, prefix: Ids, ids: Ids, limit: int, end: Ids, legal: Legal | None = None
    ) -> Judged:
        """Decode one row id by id, to an id of `end` or `limit` ids.

        `legal` is called with the ids chosen so far, and gives those that may come next.
        """
        ...


@dataclass(slots=True)
class Decoding:
    """An answer on its way: its prompt (after the prefix), its draft, and what was accepted.

    `drafted` are the entities to draft; none drafts a plain copy of the source. `margin` is the
    smallest difference between the best two logits of the answer so far.
    """

    prompt: Ids
    answer: Answer
    drafted: Sequence[WordSpan] = ()
    limit: int = 1024
    accepted: list[int] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def least_margin(self) -> float:
        """The smallest difference between the two best logits of all ids so far."""
        return min(self.margins, default=math.inf)

    def scored_spans(self) -> list[tuple[WordSpan, float]]:
        """Return the entities of the answer with their scores.

        A score is the probability, of the two best ids, of the least sure id of the entity: from
        the first id of its opening tag to the first of its closing tag.
        """
        replayed = Answer(self.answer.format)
        scored: list[tuple[WordSpan, float]] = []
        least, count = math.inf, 0
        for token, margin in zip(self.accepted, self.margins, strict=True):
            was_open = replayed.open_label is not None
            if not replayed.step(token):
                break
            opened = replayed.open_label is not None and not was_open
            least = margin if opened else min(least, margin)
            for span in replayed.spans[count:]:
                scored.append((span, round(1 / (1 + math.exp(-min(least, 50.0))), SCORE_DIGITS)))
                least = margin  # in BIO lines the id that ends an entity may begin the next
            count = len(replayed.spans)
        return scored

    def request(self, constrained: bool) -> Request:
        draft = self.answer.draft(self.drafted)[: max(0, self.limit - len(self.accepted) - 1)]
        legal = self.answer.legal_along(draft) if constrained else None
        return Request((*self.prompt, *self.accepted), tuple(draft), legal)

    def accept(self, draft: Ids, choices: Judged) -> int:
        """Take the ids up to and including the first that differs; return how many were drafted."""
        agreed = 0
        for place, (token, margin) in enumerate(zip(choices.ids, choices.margins, strict=True)):
            self.margins.append(margin)
            self.accepted.append(token)
            if not self.answer.step(token):
                break
            if self.answer.done:
                self.ended = True
            if place == len(draft) or token != draft[place]:
                break
            agreed += 1
            if self.ended:
                break
        if len(self.accepted) >= self.limit and not self.ended:
            self.answer.fault = self.answer.fault or "endless"
        return agreed


def decode(
    engine: Engine,
    prefix: Ids,
    decodings: Sequence[Decoding],
    end: Ids,
    *,
    constrained: bool = True,
    drafts: bool = True,
) -> None:
    """Bring all decodings to their end, round by round; without `drafts` id by id.

    A row whose output is illegal (only without `constrained`) is decoded id by id from there and
    counted as stepped: its answer keeps the fault and the entities before it.
    """
    stats = engine.stats
    waiting = list(decodings)
    if not drafts:
        for decoding in waiting:
            _step_to_end(engine, prefix, decoding, end, constrained)
        waiting = []
    while waiting:
        requests = [decoding.request(constrained) for decoding in waiting]
        choices = engine.judge(prefix, requests)
        for decoding, request, answer in zip(waiting, requests, choices, strict=True):
            agreed = decoding.accept(request.draft, answer)
            stats.passes += 1
            stats.drafted_tokens += len(request.draft)
            stats.accepted_tokens += agreed
        for decoding in waiting:
            if decoding.answer.fault and decoding.answer.fault != "endless":
                stats.stepped_rows += 1
                _step_to_end(engine, prefix, decoding, end, constrained)
        waiting = [d for d in waiting if not d.ended and not d.answer.fault]
    for decoding in decodings:
        stats.generated_tokens += len(decoding.accepted)
        stats.ties += sum(margin < TIE for margin in decoding.margins)


def _step_to_end(
    engine: Engine, prefix: Ids, decoding: Decoding, end: Ids, constrained: bool
) -> None:
    """Decode the rest of a row id by id; the answer takes the ids up to the first illegal one."""
    if decoding.accepted and decoding.accepted[-1] in end:
        return
    room = decoding.limit - len(decoding.accepted)
    if room <= 0:
        return
    answer = replace(decoding.answer, ids=[])

    def legal(chosen: Sequence[int]) -> list[int]:
        if chosen:
            answer.step(chosen[-1])
        return answer.legal()

    ids = (*decoding.prompt, *decoding.accepted)
    rest = engine.finish(prefix, ids, room, end, legal if constrained else None)
    engine.stats.passes += len(rest.ids)
    for token, margin in zip(rest.ids, rest.margins, strict=True):
        decoding.accepted.append(token)
        decoding.margins.append(margin)
        decoding.answer.step(token)
    decoding.ended = decoding.answer.done
    if not decoding.ended and decoding.answer.fault is None:
        decoding.answer.fault = "endless"
