"""Words to a tokenizer's pieces, each word by itself, whatever stands beside it.

Training and extraction both cut words here, so a model reads what it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from spanlake.core.errors import ModelError
from spanlake.models.loading import missing_packages

PROBE = ["Chest", "pain", ",", "37", "."]
MOST_WORDS = 200_000  # kept in memory; clinical text repeats itself


class Pieces:
    """A tokenizer, and the pieces of the words that it has met."""

    def __init__(self, folder: Path) -> None:
        try:
            from transformers import AutoTokenizer
        except ImportError:
            raise missing_packages() from None
        try:
            # byte-level BPE has one piece for a word after a space and another at the start
            self.tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, add_prefix_space=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder}: no usable tokenizer ({type(error).__name__})") from None
        self._known: dict[str, list[int]] = {}
        self.before, self.after = self._probe(folder)
        self.pad: int = self.tokenizer.pad_token_id or 0

    def of(self, words: Iterable[str]) -> list[list[int]]:
        """Return each word's piece ids; none for a word of which the tokenizer leaves nothing."""
        wanted = list(words)
        if len(self._known) > MOST_WORDS:
            self._known.clear()
        new = sorted(set(wanted) - self._known.keys())
        if new:
            self._known.update(zip(new, self._cut([[word] for word in new]), strict=True))
        return [self._known[word] for word in wanted]

    def characters_in(self, word: str, count: int) -> int:
        """Return how many of the word's characters its first `count` pieces reach."""
        offsets = self._call([[word]], return_offsets_mapping=True)["offset_mapping"][0]
        return max((end for _, end in offsets[:count]), default=0)

    def wrap(self, ids: Sequence[int]) -> list[int]:
        """Put the tokenizer's special tokens around piece ids."""
        return [*self.before, *ids, *self.after]

    @property
    def specials(self) -> int:
        return len(self.before) + len(self.after)

    def _cut(self, texts: list[list[str]]) -> list[list[int]]:
        return self._call(texts)["input_ids"]

    def _call(self, texts: list[list[str]], **options: bool) -> Any:
        return self.tokenizer(
            texts,
            is_split_into_words=True,
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,
            **options,
        )

    def _probe(self, folder: Path) -> tuple[list[int], list[int]]:
        """Return the special tokens around a text; raises ModelError for an unfit tokenizer."""
        if not self.tokenizer.is_fast:
            raise ModelError(f"{folder}: needs a fast tokenizer (a tokenizer.json)")
        together = self._call([PROBE])
        apart = self._cut([[word] for word in PROBE])
        if set(together.word_ids(0)) != set(range(len(PROBE))):
            raise ModelError(
                f"{folder}: the tokenizer does not tell which pieces are of which word"
            )
        if together["input_ids"][0] != list(chain.from_iterable(apart)):
            raise ModelError(f"{folder}: the tokenizer cuts a word by what stands beside it")
        whole = self.tokenizer(PROBE, is_split_into_words=True)["input_ids"]
        size = len(together["input_ids"][0])
        first = next(
            (i for i in range(len(whole)) if whole[i : i + size] == together["input_ids"][0]), 0
        )
        return whole[:first], whole[first + size :]
