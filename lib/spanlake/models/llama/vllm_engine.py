"""The language model in vLLM, as `verification.Engine`. Written from vLLM's interface; not run.

A draft is judged as a prompt: vLLM returns the log probabilities of its ids (`prompt_logprobs`).
It computes such a prompt anew each time, without its prefix cache, so this pays with short prompts.
`draft: none` is plain generation with prefix caching.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from spanlake.errors import ModelError
from spanlake.models.llama.markup import Ids
from spanlake.models.llama.verification import Judged, Legal, Request
from spanlake.models.loading import missing_packages
from spanlake.models.stats import Stats

LISTED = 20  # ids whose log probability is returned for each place: vLLM's own default limit

Row = Mapping[int, Any]  # id -> an object with `logprob`


class VllmEngine:
    """A `vllm.LLM` with, perhaps, a LoRA adapter. `sampling` is `vllm.SamplingParams`."""

    device = "cuda vllm"

    def __init__(self, llm: Any, sampling: Any, adapter: Any = None) -> None:
        self._llm, self._sampling, self._adapter = llm, sampling, adapter
        self.stats = Stats()

    def judge(self, prefix: Ids, requests: Sequence[Request]) -> list[Judged]:
        began = time.perf_counter()
        prompts = [(*prefix, *request.ids, *request.draft) for request in requests]
        parameters = [
            self._parameters(request.legal[-1] if request.legal else None, prompt_logprobs=LISTED)
            for request in requests
        ]
        outputs = self._generate(prompts, parameters)
        answers = []
        for request, prompt, output in zip(requests, prompts, outputs, strict=True):
            first = len(prompt) - len(request.draft)
            rows = [*output.prompt_logprobs[first:], output.outputs[0].logprobs[0]]
            legal: Sequence[list[int] | None] = request.legal or [None] * len(rows)
            chosen = [
                self._choose(prompt[: first + place], row, ids)
                for place, (row, ids) in enumerate(zip(rows, legal, strict=True))
            ]
            answers.append(Judged([c[0] for c in chosen], [c[1] for c in chosen]))
        self.stats.forward_seconds += time.perf_counter() - began
        return answers

    def finish(
        self, prefix: Ids, ids: Ids, limit: int, end: Ids, legal: Legal | None = None
    ) -> Judged:
        began = time.perf_counter()
        chosen: list[int] = []
        margins: list[float] = []
        if legal is None:
            parameters = self._parameters(None, max_tokens=limit, stop_token_ids=list(end))
            [output] = self._generate([(*prefix, *ids)], [parameters])
            for token, row in zip(
                output.outputs[0].token_ids, output.outputs[0].logprobs, strict=True
            ):
                chosen.append(int(token))
                margins.append(_best(row, None)[1])
        while legal is not None and len(chosen) < limit and (not chosen or chosen[-1] not in end):
            token, margin = self._one_of((*prefix, *ids, *chosen), legal(chosen))
            chosen.append(token)
            margins.append(margin)
        self.stats.forward_seconds += time.perf_counter() - began
        return Judged(chosen, margins)

    def _choose(self, before: Ids, row: Row, legal: list[int] | None) -> tuple[int, float]:
        """Return the best legal id of a place, and its lead over the next."""
        if legal is None or len(legal) == 1 or all(token in row for token in legal):
            return _best(row, legal)
        # An id that is not listed is less probable than all that vLLM lists by rank.
        listed = sorted((entry.logprob for entry in row.values()), reverse=True)[:LISTED]
        known = [token for token in legal if token in row and row[token].logprob >= listed[-1]]
        return _best(row, known) if known else self._one_of(before, legal)

    def _one_of(self, before: Ids, legal: list[int]) -> tuple[int, float]:
        if len(legal) == 1:
            return legal[0], math.inf
        [output] = self._generate([before], [self._parameters(legal)])
        return _best(output.outputs[0].logprobs[0], legal)

    def _parameters(self, legal: list[int] | None, **more: Any) -> Any:
        options = {"temperature": 0.0, "max_tokens": 1, "logprobs": LISTED, "detokenize": False}
        return self._sampling(**{**options, "allowed_token_ids": legal or None, **more})

    def _generate(self, prompts: Sequence[Ids], parameters: Sequence[Any]) -> list[Any]:
        self.stats.tokens += sum(map(len, prompts))
        self.stats.batches += 1
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            list(parameters),
            use_tqdm=False,
            lora_request=self._adapter,
        )
        return list(outputs)


def _best(row: Row, legal: Sequence[int] | None) -> tuple[int, float]:
    """Return the most probable id of a row, among the legal ones if given, and its lead."""
    scored = sorted(
        ((entry.logprob, -token) for token, entry in row.items() if not legal or token in legal),
        reverse=True,
    )
    if not scored:
        assert legal is not None and len(legal) == 1  # the caller has asked for others
        return legal[0], math.inf
    lead = scored[0][0] - scored[1][0] if len(scored) > 1 else math.inf
    return -scored[0][1], lead


def load_vllm(base: str, adapter: str | None, quantization: str, max_length: int) -> VllmEngine:
    """Start vLLM in this process; raises ModelError where it is not installed or does not start."""
    try:
        from vllm import LLM, SamplingParams  # type: ignore[import-not-found]
        from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]
    except ImportError:
        raise missing_packages("llama", "vllm (in an environment of its own)") from None
    options: dict[str, Any] = {"enable_lora": adapter is not None}
    if quantization != "none":
        options["quantization"] = "bitsandbytes"
    try:
        llm = LLM(
            model=base,
            max_model_len=max_length,
            max_logprobs=LISTED,
            enable_prefix_caching=True,
            trust_remote_code=False,
            **options,
        )
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{base}: vLLM does not start ({type(error).__name__})") from None
    return VllmEngine(llm, SamplingParams, LoRARequest("adapter", 1, adapter) if adapter else None)
