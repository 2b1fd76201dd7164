"""What an extractor counts while it works: seconds per stage, tokens, batches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counts since the last `take`; times in seconds of wall clock, memory aside."""

    tokenize_seconds: float = 0.0
    forward_seconds: float = 0.0
    decode_seconds: float = 0.0
    tokens: int = 0
    padded_tokens: int = 0
    batches: int = 0
    oom_splits: int = 0

    def take(self) -> Stats:
        """Return a copy of the counts and start again from nothing."""
        taken = Stats(*(getattr(self, name) for name in self.__slots__))
        self.__init__()  # type: ignore[misc]
        return taken
