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
    passes: int = 0  # of a language model: rows sent through it
    drafted_tokens: int = 0
    accepted_tokens: int = 0  # of those drafted
    stepped_rows: int = 0  # whose output was illegal, and was decoded id by id
    ties: int = 0  # ids whose two best logits were closer than a step of bfloat16

    def take(self) -> Stats:
        """Return a copy of the counts and start again from nothing."""
        taken = Stats(*(getattr(self, name) for name in self.__slots__))
        self.__init__()  # type: ignore[misc]
        return taken
