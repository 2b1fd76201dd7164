"""Training by several processes at once, one a GPU: `accelerate launch` or `torchrun` starts them.

All learn, on batches of their own; the first alone writes, and looks only when none is writing.
"""

from __future__ import annotations

import os

from spanlake.errors import ConfigError
from spanlake.models.devices import pick_device
from spanlake.models.loading import missing_packages

try:
    from accelerate import PartialState
except ImportError:
    raise missing_packages("train") from None


def count() -> int:
    """Return how many processes were started to train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Tell whether this is the process that writes: the first, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def meet() -> None:
    """Wait until all processes have come here."""
    if count() > 1:
        PartialState(cpu=pick_device("auto") == "cpu").wait_for_everyone()


def require_one(what: str) -> None:
    """Raise ConfigError where several processes were started for what one does."""
    if count() > 1:
        raise ConfigError(f"{what} takes one process: start it without accelerate or torchrun")
