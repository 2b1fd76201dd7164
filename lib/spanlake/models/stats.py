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
    generated_tokens: int = 0  # of its answers
    drafted_tokens: int = 0
    accepted_tokens: int = 0  # of those drafted
    stepped_rows: int = 0  # answers that became illegal, and were decoded id by id
    ties: int = 0  # ids whose two best logits were closer than a step of bfloat16
    passed_on: int = 0  # texts that a cascade gave to its second model

    def add(self, other: Stats) -> None:
        """Add the counts of another."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def take(self) -> Stats:
        """Return a copy of the counts and start again from nothing."""
        taken = Stats(*(getattr(self, name) for name in self.__slots__))
        self.__init__()  # type: ignore[misc]
        return taken
