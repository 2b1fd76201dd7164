"""Words to a tokenizer's pieces, each word by itself, whatever stands beside it.

Training and extraction both cut words here, so a model reads what it was trained on.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanlake.errors import ModelError
from spanlake.models.loading import missing_packages

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

PROBE = ["Chest", "pain", ",", "37", "."]
MOST_WORDS = 200_000  # kept in memory; clinical text repeats itself


class WordTokenizer:
    """A tokenizer, and the pieces of the words that it has met.

    `pad` is the id that fills up a batch, `longest` how many pieces the tokenizer allows. A word
    of a decoder's tokenizer (`of_decoder`) is tokenized as running text, behind a space.
    Raises ModelError for a tokenizer that cuts a word by what stands beside it, or otherwise than
    in running text.
    """

    def __init__(
        self,
        backend: Tokenizer,
        *,
        pad: int = 0,
        longest: int = sys.maxsize,
        of_decoder: bool = False,
    ) -> None:
        self.backend, self.pad, self.longest = backend, pad, longest
        self.of_decoder = of_decoder
        self.backend.no_truncation()
        self.backend.no_padding()
        self._known: dict[str, list[int]] = {}
        self.before, self.after = self._probe()

    def of(self, words: Iterable[str]) -> list[list[int]]:
        """Return each word's piece ids; none for a word of which the tokenizer leaves nothing."""
        wanted = list(words)
        if len(self._known) > MOST_WORDS:
            self._known.clear()
        new = sorted(set(wanted) - self._known.keys())
        if new:
            cut = [encoding.ids for encoding in self._call([[word] for word in new])]
            self._known.update(zip(new, cut, strict=True))
        return [self._known[word] for word in wanted]

    def characters_in(self, word: str, count: int) -> int:
        """Return how many of the word's characters its first `count` pieces reach."""
        [encoding] = self._call([[word]])
        space = int(self.of_decoder)
        return max((end - space for _, end in encoding.offsets[:count]), default=0)

    def wrap(self, ids: Sequence[int]) -> list[int]:
        """Put the tokenizer's special tokens around piece ids."""
        return [*self.before, *ids, *self.after]

    @property
    def specials(self) -> int:
        return len(self.before) + len(self.after)

    def _call(self, texts: list[list[str]], *, specials: bool = False) -> list[Encoding]:
        if self.of_decoder:
            running = ["".join(f" {word}" for word in words) for words in texts]
            return self.backend.encode_batch(running, add_special_tokens=specials)
        return self.backend.encode_batch(texts, is_pretokenized=True, add_special_tokens=specials)

    def _probe(self) -> tuple[list[int], list[int]]:
        """Return the special tokens around a text."""
        [joined] = self._call([PROBE])
        apart = [encoding.ids for encoding in self._call([[word] for word in PROBE])]
        if not self.of_decoder and set(joined.word_ids) != set(range(len(PROBE))):
            raise ModelError("the tokenizer does not tell which pieces are of which word")
        if joined.ids != list(chain.from_iterable(apart)):
            raise ModelError("the tokenizer cuts a word by what stands beside it")
        behind = [f"x {word}" for word in PROBE]  # as words stand in running text
        running = self.backend.encode_batch(behind, add_special_tokens=False)
        if any(text.ids[-len(ids) :] != ids for text, ids in zip(running, apart, strict=True)):
            raise ModelError("the tokenizer cuts a word otherwise than in running text")
        [whole] = self._call([PROBE], specials=True)
        size = len(joined.ids)
        first = next((i for i in range(len(whole)) if whole.ids[i : i + size] == joined.ids), 0)
        return whole.ids[:first], whole.ids[first + size :]


def checkpoint_tokenizer(folder: Path, *, add_prefix_space: bool = True) -> Any:
    """Return the fast Hugging Face tokenizer of a checkpoint; raises ModelError without one.

    With `add_prefix_space` byte-level BPE reads a word as one behind a space.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise missing_packages() from None
    try:
        # byte-level BPE has one piece for a word after a space and another at the start
        space = {"add_prefix_space": True} if add_prefix_space else {}
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **space
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no usable tokenizer ({type(error).__name__})") from None
    if not tokenizer.is_fast:
        raise ModelError(f"{folder}: needs a fast tokenizer (a tokenizer.json)")
    if add_prefix_space:
        _prefix_space(tokenizer.backend_tokenizer)
    return tokenizer


def _prefix_space(backend: Tokenizer) -> None:
    """Have a byte-level pre-tokenizer read a word as one behind a space.

    transformers 5 passes `add_prefix_space` on for RoBERTa, and drops it for ModernBERT.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    if isinstance(backend.pre_tokenizer, ByteLevel):
        backend.pre_tokenizer.add_prefix_space = True


def without_dummy_prefix(backend: Any) -> Any:
    """Return a copy of a tokenizer that does not put a space before each text.

    Tokenizers made from SentencePiece models (Llama 2, Mistral 7B) do: as a pre-tokenizer
    (Metaspace) or as a normalizer (Prepend).
    """
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    backend = Tokenizer.from_str(backend.to_str())
    backend.no_truncation()
    backend.no_padding()
    if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        backend.pre_tokenizer.prepend_scheme = "never"
    if isinstance(backend.normalizer, normalizers.Sequence):
        kept = [
            copy.deepcopy(step)
            for step in backend.normalizer  # type: ignore[attr-defined]
            if not isinstance(step, normalizers.Prepend)
        ]
        backend.normalizer = normalizers.Sequence(kept)
    return backend


def load_word_tokenizer(folder: Path, *, of_decoder: bool = False) -> WordTokenizer:
    """Return the word tokenizer of a checkpoint; raises ModelError when it is unfit."""
    tokenizer = checkpoint_tokenizer(folder, add_prefix_space=not of_decoder)
    backend = tokenizer.backend_tokenizer
    try:
        return WordTokenizer(
            without_dummy_prefix(backend) if of_decoder else backend,
            pad=tokenizer.pad_token_id or 0,
            longest=tokenizer.model_max_length,
            of_decoder=of_decoder,
        )
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
