"""The language model in torch: loading, the frozen prefix, and one forward pass for many drafts.

The only module of the package that imports torch.
"""

from __future__ import annotations

import inspect
import math
import time
import types
from collections.abc import Sequence
from typing import Any

from spanlake.models.batching import run_batched
from spanlake.models.llama.markup import Ids
from spanlake.models.llama.verification import Judged, Legal, Request
from spanlake.models.loading import missing_packages
from spanlake.models.network import cpu_memory_errors
from spanlake.models.stats import Stats

try:
    import torch
    from transformers import DynamicCache
except ImportError:
    raise missing_packages() from None

POSITIONS_AT_ONCE = 1024  # of the LM head: 1,024 x 128,000 logits are 0.5 GB in float32


class TorchEngine:
    """A causal language model on its device, as `verification.Engine`.

    `budget` is the number of ids in a padded batch. A prefix is computed once and kept for the life
    of the process (`use_prefix_cache`); its keys and values serve every batch and are never copied
    as a whole.
    """

    def __init__(
        self, model: Any, *, device: str, budget: int = 4096, use_prefix_cache: bool = True
    ) -> None:
        self.model = model.to(device).eval() if device != "as loaded" else model.eval()
        self._where = next(model.parameters()).device
        self.device = str(self._where)
        self.stats = Stats()
        self._budget, self._use_prefix_cache = budget, use_prefix_cache
        self._decoder = model.get_decoder()
        self._head = model.get_output_embeddings()
        arguments = inspect.signature(self._decoder.forward).parameters
        # transformers 5.24 renames the argument
        self._cache_argument = "cache" if "cache" in arguments else "past_key_values"
        self._prefixes: dict[Ids, Any] = {}

    def judge(self, prefix: Ids, requests: Sequence[Request]) -> list[Judged]:
        began = time.perf_counter()
        answers = run_batched(
            requests,
            lambda batch: self._forward(prefix, batch),
            budget=self._budget,
            stats=self.stats,
            out_of_memory=torch.OutOfMemoryError,
        )
        self.stats.forward_seconds += time.perf_counter() - began
        return answers

    @torch.inference_mode()
    def finish(
        self, prefix: Ids, ids: Ids, limit: int, end: Ids, legal: Legal | None = None
    ) -> Judged:
        began = time.perf_counter()
        cache = DynamicCache(config=self.model.config)
        following: Sequence[int] = (*prefix, *ids)
        chosen: list[int] = []
        margins: list[float] = []
        while len(chosen) < limit and (not chosen or chosen[-1] not in end):
            states = self._states(following, cache)[0, -1:]  # [1, hidden]
            if legal is None:
                best = self._best(states)
            else:
                best = self._best_legal(states, Request(ids, (), [legal(chosen)]))
            chosen += best.ids
            margins += best.margins
            self.stats.tokens += len(following)
            following = best.ids
        self.stats.forward_seconds += time.perf_counter() - began
        return Judged(chosen, margins)

    def _states(self, ids: Sequence[int], cache: Any) -> torch.Tensor:
        row = torch.tensor([list(ids)], device=self._where)
        return self._decoder(input_ids=row, **{self._cache_argument: cache}).last_hidden_state

    @torch.inference_mode()
    def _forward(self, prefix: Ids, batch: Sequence[Request]) -> list[Judged]:
        """Judge requests in one pass; padding is on the right, where no real id attends to it."""
        rows = [(*request.ids, *request.draft) for request in batch]
        if not self._use_prefix_cache:
            rows = [(*prefix, *row) for row in rows]
        longest = max(map(len, rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        cache = {self._cache_argument: self._frozen(prefix)} if self._use_prefix_cache else {}
        with cpu_memory_errors():
            states = self._decoder(input_ids=ids.to(self._where), **cache).last_hidden_state
        choices = []
        for i, (row, request) in enumerate(zip(rows, batch, strict=True)):
            places = states[i, len(row) - len(request.draft) - 1 : len(row)]  # [draft + 1, hidden]
            choices.append(
                self._best(places) if request.legal is None else self._best_legal(places, request)
            )
        return choices

    def _frozen(self, prefix: Ids) -> Any:
        """Return the prefix's keys and values as a cache that never grows."""
        if prefix not in self._prefixes:
            cache: Any = DynamicCache(config=self.model.config)
            self._states(prefix, cache)
            for layer in cache.layers:
                layer.update = types.MethodType(_append_without_keeping, layer)
            self._prefixes[prefix] = cache
        return self._prefixes[prefix]

    def _best(self, states: torch.Tensor) -> Judged:
        """Return the best id of the whole vocabulary for each of ``[places, hidden]`` states."""
        ids: list[int] = []
        margins: list[float] = []
        for part in states.split(POSITIONS_AT_ONCE):
            top = self._head(part).float().topk(2, -1)
            ids += top.indices[:, 0].tolist()
            margins += (top.values[:, 0] - top.values[:, 1]).tolist()
        return Judged(ids, margins)

    def _best_legal(self, states: torch.Tensor, request: Request) -> Judged:
        """Score the legal ids alone, which needs a few rows of the LM head."""
        assert request.legal is not None
        ids = [legal[0] if legal else -1 for legal in request.legal]
        margins = [math.inf] * len(ids)
        open_places = [i for i, legal in enumerate(request.legal) if len(legal) > 1]
        for first in range(0, len(open_places), POSITIONS_AT_ONCE):
            places = open_places[first : first + POSITIONS_AT_ONCE]
            width = max(len(request.legal[i]) for i in places)
            # a repeated first id fills up; its score is masked below
            padded = [
                request.legal[i] + request.legal[i][:1] * (width - len(request.legal[i]))
                for i in places
            ]
            columns = torch.tensor(padded, device=states.device)  # [places, width]
            weights = self._head.weight[columns]  # [places, width, hidden]
            scores = torch.einsum("ph,pwh->pw", states[places], weights).float()
            if getattr(self._head, "bias", None) is not None:
                scores = scores + self._head.bias[columns]
            sizes = torch.tensor([[len(request.legal[i])] for i in places], device=scores.device)
            filled = torch.arange(width, device=scores.device)[None, :] >= sizes
            top = scores.masked_fill(filled, -math.inf).topk(2, -1)
            gaps = (top.values[:, 0] - top.values[:, 1]).tolist()
            for i, row, best, gap in zip(
                places, padded, top.indices[:, 0].tolist(), gaps, strict=True
            ):
                ids[i], margins[i] = row[best], gap
        return Judged(ids, margins)


def _append_without_keeping(
    layer: Any, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the layer's keys and values with new ones behind them; the layer stays as it is."""
    rows = keys.shape[0]
    return (
        torch.cat([layer.keys.expand(rows, -1, -1, -1), keys], -2),
        torch.cat([layer.values.expand(rows, -1, -1, -1), values], -2),
    )
