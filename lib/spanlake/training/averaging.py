"""Averages of weights: a moving one while a model is trained, and that of several trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

SLOW_START = 10  # steps after which the average begins to look back beyond the last few
AVERAGE = "average.safetensors"


class WeightAverage(transformers.TrainerCallback):
    """The average of a module's weights, kept with every checkpoint."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.average = AveragedModel(module, multi_avg_fn=self._blend)

    @torch.no_grad()
    def _blend(self, average: Any, now: Any, seen: Any) -> None:
        """Take in a step's weights; early on it forgets faster, or the first ones would stay."""
        decay = min(self.decay, (1 + int(seen)) / (SLOW_START + int(seen)))
        torch._foreach_lerp_(average, now, 1 - decay)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.average.to(next(self.module.parameters()).device)
        if state.global_step:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / AVERAGE
            self.average.module.load_state_dict(load_file(path))
            self.average.n_averaged += state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.average.update_parameters(self.module)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / AVERAGE
        partial_path = path.with_suffix(".partial")
        save_file(self.average.module.state_dict(), partial_path)
        partial_path.replace(path)

    def state(self) -> dict[str, Any]:
        """Return the averaged weights."""
        return self.average.module.state_dict()


def mean_state(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of weights; numbers that are no fractions are those of the first."""
    return {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }
