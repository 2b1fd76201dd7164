"""Prompts and answers of a language model as token ids, made from a label set's definitions.

The templates are `prompts/*.jinja`. A note's text is tokenized word by word, apart from the
prompt, so nothing in a note can be read as a special token or as a part of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, NamedTuple

from spanlake.core.bio import tag_names, words
from spanlake.core.labels import LabelSet, Layer
from spanlake.core.types import Span
from spanlake.errors import ModelError
from spanlake.models.llama.markup import BioLines, Format, Ids, Source, SpanMarkup
from spanlake.models.loading import missing_packages
from spanlake.models.tokenization import without_dummy_prefix

PROMPT_VERSION = 1  # raise when a template or the format of an answer changes
PLACE = "@@SOURCE@@"  # where the sentence goes; never a part of a prompt that a model reads
PROBE = "No chest  pain,\tBP 120/80.\n2 mg/dL b.i.d."
AnswerKind = Literal["llama_markup", "llama_bio"]
PromptStyle = Literal["instruct", "short"]


class Tag(NamedTuple):
    """What an answer may mark: the name in the tag, and what it means."""

    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class Task:
    """One kind of call: the ids before and after the sentence, and the format of the answer.

    `opening` and `closing` are the ids of each tag (`llama_markup`), `tags` those of BIO tags
    (`llama_bio`).
    """

    prefix: Ids
    suffix: Ids
    labels: tuple[str, ...]
    opening: dict[str, Ids]
    closing: dict[str, Ids]
    tags: dict[str, Ids]


class Prompts:
    """The prompts of a label set for one tokenizer.

    `instruct` explains the task with the definitions of the labels, in the chat template of the
    model if it has one; `short` names the labels, which is enough for a tuned model.
    Raises ModelError for a tokenizer that cannot tokenize a text word by word without loss.
    """

    def __init__(
        self, tokenizer: Any, labels: LabelSet, kind: AnswerKind, style: PromptStyle
    ) -> None:
        self.tokenizer, self.labels, self.kind = tokenizer, labels, kind
        self._style, self._chat = style, style == "instruct" and bool(tokenizer.chat_template)
        self._words = without_dummy_prefix(tokenizer.backend_tokenizer)
        self._known: dict[str, Ids] = {}
        self._check_tokenizer()
        self.end = _end_ids(tokenizer)
        self.tab, self.newline = self._ids("\t"), self._ids("\n")
        template = "entities" if kind == "llama_markup" else "bio"
        self.entity_tasks: dict[Layer, Task] = {
            layer: self._task(template, [Tag(n, _definition(labels, n)) for n in names])
            for layer in labels.layers
            if (names := labels.labels_of(layer)) and (layer == "main" or kind == "llama_bio")
        }
        self.attribute_tasks: dict[str, Task] = {
            head: self._task("attributes", _attribute_tags(labels, head), head=head)
            for head in (labels.pairs if kind == "llama_markup" else ())
        }

    def source(self, text: str, words: Sequence[Span]) -> Source:
        """Tokenize a text's words, each with the white space before it."""
        starts = [0, *(word.end for word in words)]
        pieces = (text[start : word.end] for start, word in zip(starts, words, strict=False))
        return Source.of([self._ids(piece) for piece in pieces])

    def bare_words(self, text: str, words: Sequence[Span]) -> tuple[Ids, ...]:
        """Tokenize a text's words without white space, as BIO lines repeat them."""
        return tuple(self._ids(text[word.start : word.end]) for word in words)

    def answer_format(self, task: Task, source: Source, bare_words: Sequence[Ids] = ()) -> Format:
        """Return the format of the answer to a task about a source."""
        if self.kind == "llama_markup":
            return SpanMarkup(source, task.opening, task.closing, self.end)
        return BioLines(tuple(bare_words), task.tags, self.tab, self.newline, self.end)

    def marked(self, source: Source, first: int, end: int, label: str) -> Ids:
        """Return the source's ids with words `first` to `end` - 1 inside the tags of `label`."""
        task = self.entity_tasks["main"]
        a, b = source.token_of(first), source.token_of(end)
        ids = source.ids
        return (*ids[:a], *task.opening[label], *ids[a:b], *task.closing[label], *ids[b:])

    def _task(self, template: str, tags: Sequence[Tag], **values: str) -> Task:
        before, after = self._render(template, tags, **values).split(PLACE)
        names = tuple(tag.name for tag in tags)
        bio = tag_names(names) if self.kind == "llama_bio" else ()
        first = [] if self._chat else self.tokenizer("")["input_ids"][:1]  # a BOS token
        return Task(
            (*first, *self._prompt_ids(before)),
            self._prompt_ids(after),
            names,
            {name: self._ids(f"<{name}>") for name in names},
            {name: self._ids(f"</{name}>") for name in names},
            {name: self._ids(name) for name in bio},
        )

    def _render(self, template: str, tags: Sequence[Tag], **values: str) -> str:
        """Return a prompt up to where the answer begins, with a mark in place of the sentence."""
        try:
            from jinja2 import Template
        except ImportError:
            raise missing_packages("llama", "jinja2") from None
        path = resources.files("spanlake.models.llama") / "prompts" / f"{template}.jinja"
        content = Template(path.read_text(encoding="utf-8")).render(
            labels=tags, short=self._style == "short", source=PLACE, **values
        )
        if not self._chat:
            return f"{content}\n\nAnswer:\n"
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        return text

    def _prompt_ids(self, text: str) -> Ids:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ids(self, text: str) -> Ids:
        """Tokenize a word, or a part of an answer; never as a special token of the prompt."""
        if text not in self._known:
            ids = self._words.encode(text, add_special_tokens=False).ids
            self._known[text] = tuple(ids)
        return self._known[text]

    def _check_tokenizer(self) -> None:
        ids = self.source(PROBE, words(PROBE)).ids
        if self.tokenizer.decode(ids, clean_up_tokenization_spaces=False) != PROBE:
            raise ModelError("the tokenizer does not give a text back that is tokenized by words")


def _definition(labels: LabelSet, name: str) -> str:
    return labels.main.get(name) or labels.modifier.get(name) or name


def _attribute_tags(labels: LabelSet, head: str) -> list[Tag]:
    """Return the tags of what may be related to a head: a label, with several relations both."""
    relations = list(labels.relations)
    if len(relations) == 1:
        return [Tag(tail, _definition(labels, tail)) for tail in labels.pairs[head]]
    return [
        Tag(f"{tail}.{relation}", f"{tail}: {labels.relations[relation]}")
        for tail in labels.pairs[head]
        for relation in relations
    ]


def attribute_of(labels: LabelSet, name: str) -> tuple[str, str]:
    """Return the label and the relation that a tag of `_attribute_tags` stands for."""
    if len(labels.relations) == 1:
        return name, next(iter(labels.relations))
    tail, _, relation = name.partition(".")
    return tail, relation


def attribute_tag(labels: LabelSet, tail: str, relation: str) -> str:
    """Return the name of the tag of a tail with this relation."""
    return tail if len(labels.relations) == 1 else f"{tail}.{relation}"


def _end_ids(tokenizer: Any) -> Ids:
    """Return the ids that end an answer: the tokenizer's end, and an end of turn."""
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end-of-sequence token")
    turns = ("<|eot_id|>", "<end_of_turn>", "<|im_end|>")
    known = tokenizer.get_vocab()
    return tuple(dict.fromkeys([tokenizer.eos_token_id, *(known[t] for t in turns if t in known)]))
