"""The extractors `llama_markup` and `llama_bio`: a language model writes entities and relations.

`llama_markup` is Kiwi's shape (arXiv 2411.10020): one answer marks the main entities of a text,
then one answer per entity marks what belongs to it. `llama_bio` is that of arXiv 2504.00664: a line
per word with its BIO tag, one answer per layer; relations are those of the nearest-head rule.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from spanlake.config.extractors import LlamaConfig
from spanlake.core.bio import words
from spanlake.core.labels import load_labels
from spanlake.core.types import Entity, Extraction, Relation, Span, Unit, check_offsets, entity_at
from spanlake.models import Extractor, load_extractor
from spanlake.models.lexicon import load_lexicon
from spanlake.models.llama import loading
from spanlake.models.llama.loading import fingerprint as fingerprint
from spanlake.models.llama.markup import Answer, Ids, Source, WordSpan
from spanlake.models.llama.prompts import Prompts, Task, attribute_of, attribute_tag
from spanlake.models.llama.verification import Decoding, Engine, decode
from spanlake.models.relation_rules import NearestHeadRule
from spanlake.models.safe_extract import extract_encodable
from spanlake.models.tagger.features import word_spans
from spanlake.models.tokenization import checkpoint_tokenizer
from spanlake.models.windows import plan_windows

LONGEST_PROMPT = 1024
# An answer ends at so many times the ids of its prompt: a legal one has an end, a free one may not.
LEGAL_LENGTH, FREE_LENGTH, ROOM = 16, 4, 64


@dataclass(frozen=True, slots=True)
class Window:
    """Words `first` to `end` - 1 of a text, as ids. Nothing is marked across windows."""

    first: int
    end: int
    source: Source
    bare_words: tuple[Ids, ...]

    def within(self, spans: Sequence[WordSpan]) -> list[WordSpan]:
        """Return the spans inside the window, counted from its first word."""
        return [
            WordSpan(s.first - self.first, s.end - self.first, s.label)
            for s in spans
            if self.first <= s.first and s.end <= self.end
        ]


def windows_of(
    text: str, text_words: Sequence[Span], prompts: Prompts, max_tokens: int
) -> list[Window]:
    """Cut a text into windows of at most `max_tokens` ids, at words; a longer word is one."""
    source = prompts.source(text, text_words)
    edges = [source.token_of(word) for word in range(len(text_words) + 1)]
    sizes = [min(b - a, max_tokens) for a, b in pairwise(edges)]
    bare = prompts.bare_words(text, text_words) if prompts.kind == "llama_bio" else ()
    windows = []
    for first, end in plan_windows(sizes, max_tokens, 0):
        ids = [source.ids[edges[word] : edges[word + 1]] for word in range(first, end)]
        windows.append(Window(first, end, Source.of(ids), bare[first:end]))
    return windows


@dataclass(slots=True)
class Text:
    """A text that is being read: its words and windows, and what has been found so far."""

    text: str
    words: list[Span]
    windows: list[Window]
    entities: list[Entity]
    spans: list[tuple[int, int]]  # of `entities`, in words
    relations: list[Relation]
    margin: float = math.inf

    def span_of(self, window: Window, span: WordSpan) -> tuple[int, int]:
        """Return a range of words of the text for one of a window."""
        return window.first + span.first, window.first + span.end

    def entity(self, span: tuple[int, int], label: str, score: float | None) -> Entity:
        first, last = self.words[span[0]], self.words[span[1] - 1]
        return entity_at(self.text, first.start, last.end, label, score)

    def add(self, span: tuple[int, int], label: str, score: float | None) -> int:
        """Return the position of an entity, which is new or was found before."""
        entity = self.entity(span, label, score)
        for i, known in enumerate(self.entities):
            if known.key == entity.key:
                return i
        self.entities.append(entity)
        self.spans.append(span)
        return len(self.entities) - 1


Drafts = list[tuple[list[WordSpan], dict[WordSpan, list[WordSpan]]]]


def load(config: LlamaConfig) -> LlamaExtractor:
    """Return the extractor of a configuration."""
    return LlamaExtractor(config)


class LlamaExtractor:
    """Reads units' targets (context around them is not looked at); one instance a process.

    Answers are greedy-consistent: every id is the most probable one given those before it. In
    float32 neither drafts nor batches change them. In bfloat16 two ids that tie may fall either
    way; `stats.ties` counts them. `confidence` of an extraction is the smallest margin of its
    answers: the difference of the probabilities of the two best ids, of these two.
    """

    context = 0

    def __init__(self, config: LlamaConfig) -> None:
        self.config = config
        self.labels = load_labels(config.labels)
        folder = loading.locate(config, self.labels)
        self.fingerprint = loading.folder_fingerprint(folder, config, self.labels)
        self.training_text_hashes = folder.training_text_hashes
        self.engine, tokenizer = _engine(folder, config)
        self.stats, self.device = self.engine.stats, self.engine.device
        self.prompts = Prompts(tokenizer, self.labels, config.kind, folder.prompt)
        self.drafter = _drafter(config)
        self._rule = (
            NearestHeadRule(self.labels, load_lexicon("kiwi"))
            if config.kind == "llama_bio"
            else None
        )

    def extract(self, units: Sequence[Unit]) -> list[Extraction]:
        """Return one extraction a unit, in order."""
        return extract_encodable(units, self._read)

    def score_relations(
        self, units: Sequence[Unit], entities: Sequence[Sequence[Entity]]
    ) -> list[list[Relation]]:
        """Return the relations among given entities; raises OffsetError for any not of the text."""
        for unit, given in zip(units, entities, strict=True):
            check_offsets(given, unit.target)
        if self._rule is not None:
            return [
                self._rule.score_relations(unit.target, given)
                for unit, given in zip(units, entities, strict=True)
            ]
        texts = [self._text(unit) for unit in units]
        for text, given in zip(texts, entities, strict=True):
            for entity, span in zip(given, word_spans(text.words, given), strict=True):
                if span[0] < span[1]:
                    text.add(span, entity.label, entity.score)
        self._read_attributes(texts, self._drafts(units, texts), known_only=True)
        return [_positions(text, given) for text, given in zip(texts, entities, strict=True)]

    def _text(self, unit: Unit) -> Text:
        text_words = words(unit.target)
        windows = windows_of(unit.target, text_words, self.prompts, self.config.max_tokens)
        return Text(unit.target, text_words, windows, [], [], [])

    def _read(self, units: Sequence[Unit]) -> list[Extraction]:
        texts = [self._text(unit) for unit in units]
        drafts = self._drafts(units, texts)
        for layer, task in self.prompts.entity_tasks.items():
            self._read_entities(texts, task, self.labels.labels_of(layer), drafts)
        if self._rule is None:
            self._read_attributes(texts, drafts)
        return [self._extraction(text) for text in texts]

    def _extraction(self, text: Text) -> Extraction:
        order = sorted(range(len(text.entities)), key=lambda i: text.entities[i].key)
        place = {old: new for new, old in enumerate(order)}
        entities = tuple(text.entities[i] for i in order)
        if self._rule is not None:
            relations = self._rule.score_relations(text.text, entities)
        else:
            relations = sorted(
                (Relation(place[r.head], place[r.tail], r.label, r.score) for r in text.relations),
                key=lambda r: (r.head, r.tail),
            )
        confidence = 1.0 if math.isinf(text.margin) else math.tanh(text.margin / 2)
        return Extraction("ok", entities, tuple(relations), len(text.text), confidence=confidence)

    def _read_entities(
        self, texts: Sequence[Text], task: Task, names: Sequence[str], drafts: Drafts
    ) -> None:
        """Add the entities of one layer to the texts."""
        calls: list[tuple[Text, Window, Decoding]] = []
        for text, (drafted, _) in zip(texts, drafts, strict=True):
            for window in text.windows:
                spans = window.within([s for s in drafted if s.label in names])
                calls.append((text, window, self._decoding(task, window, window.source.ids, spans)))
        self._decode(task, [decoding for *_, decoding in calls])
        for text, window, decoding in calls:
            text.margin = min(text.margin, decoding.least_margin)
            for marked, score in decoding.scored_spans():
                text.add(text.span_of(window, marked), marked.label, score)

    def _read_attributes(
        self, texts: Sequence[Text], drafts: Drafts, *, known_only: bool = False
    ) -> None:
        """Add to each entity what belongs to it: a modifier, or another entity that was found.

        With `known_only` no modifier is added either.
        """
        calls_by_label: dict[str, list[tuple[Text, int, Window, Decoding]]] = defaultdict(list)
        for text, (_, drafted) in zip(texts, drafts, strict=True):
            for i, (span, entity) in enumerate(zip(text.spans, text.entities, strict=True)):
                task = self.prompts.attribute_tasks.get(entity.label)
                whole = WordSpan(*span, entity.label)
                window = next((w for w in text.windows if w.within([whole])), None)
                if task is None or window is None:
                    continue
                [inside] = window.within([whole])
                prompt = self.prompts.marked(window.source, inside.first, inside.end, entity.label)
                spans = window.within(drafted.get(whole, []))
                decoding = self._decoding(task, window, prompt, spans)
                calls_by_label[entity.label].append((text, i, window, decoding))
        for label, calls in calls_by_label.items():
            self._decode(self.prompts.attribute_tasks[label], [call[-1] for call in calls])
            for text, head, window, decoding in calls:
                text.margin = min(text.margin, decoding.least_margin)
                for marked, score in decoding.scored_spans():
                    self._relate(
                        text, head, text.span_of(window, marked), marked.label, score, known_only
                    )

    def _relate(
        self, text: Text, head: int, span: tuple[int, int], tag: str, score: float, known_only: bool
    ) -> None:
        label, relation = attribute_of(self.labels, tag)
        entity = text.entity(span, label, score)
        known = {e.key: i for i, e in enumerate(text.entities)}.get(entity.key)
        if known is None and (known_only or label in self.labels.main):
            return
        tail = text.add(span, label, score)
        if tail != head:
            text.relations.append(Relation(head, tail, relation, score))

    def _decoding(
        self, task: Task, window: Window, prompt: Ids, spans: Sequence[WordSpan]
    ) -> Decoding:
        answer = Answer(self.prompts.answer_format(task, window.source, window.bare_words))
        factor = LEGAL_LENGTH if self.config.constrained else FREE_LENGTH
        limit = factor * (len(prompt) + len(window.bare_words)) + ROOM
        return Decoding((*prompt, *task.suffix), answer, spans, limit)

    def _decode(self, task: Task, decodings: Sequence[Decoding]) -> None:
        decode(
            self.engine,
            task.prefix,
            decodings,
            self.prompts.end,
            constrained=self.config.constrained,
            drafts=self.config.draft != "none",
        )

    def _drafts(self, units: Sequence[Unit], texts: Sequence[Text]) -> Drafts:
        """Return for each text the entities to draft, and by entity what to draft as belonging."""
        if self.drafter is None:
            return [([], {}) for _ in texts]
        drafts: Drafts = []
        least = self.config.draft_threshold
        for text, answer in zip(texts, self.drafter.extract(units), strict=True):
            is_drafted = [(e.score is None or e.score >= least) for e in answer.entities]
            spans = [
                WordSpan(*span, entity.label)
                for span, entity in zip(
                    word_spans(text.words, answer.entities), answer.entities, strict=True
                )
            ]
            attributes: dict[WordSpan, list[WordSpan]] = defaultdict(list)
            for r in answer.relations:
                tag = attribute_tag(self.labels, answer.entities[r.tail].label, r.label)
                if is_drafted[r.tail] and (r.score is None or r.score >= least):
                    attributes[spans[r.head]].append(spans[r.tail]._replace(label=tag))
            kept = [span for span, drafted in zip(spans, is_drafted, strict=True) if drafted]
            drafts.append((kept, attributes))
        return drafts


def _engine(folder: loading.LlamaFolder, config: LlamaConfig) -> tuple[Engine, Any]:
    """Return what runs the model, and its tokenizer."""
    if config.engine == "vllm":
        from spanlake.models.llama.vllm_engine import load_vllm

        adapter = str(folder.adapter) if folder.adapter else None
        tokenizer = checkpoint_tokenizer(folder.base, add_prefix_space=False)
        longest = 8 * config.max_tokens + LONGEST_PROMPT
        return load_vllm(str(folder.base), adapter, folder.quantization, longest), tokenizer
    from spanlake.models.llama.torch_engine import POSITIONS_AT_ONCE, TorchEngine

    model, tokenizer, device = loading.load(folder, config, POSITIONS_AT_ONCE)
    engine = TorchEngine(model, device="as loaded", budget=config.max_tokens_per_batch)
    engine.device = f"{device} {str(model.dtype).removeprefix('torch.')}"
    return engine, tokenizer


def _drafter(config: LlamaConfig) -> Extractor | None:
    if isinstance(config.draft, str):
        return None
    return load_extractor(config.draft)


def _positions(text: Text, given: Sequence[Entity]) -> list[Relation]:
    """Return a text's relations as positions among given entities, which may overlap on words."""
    place: dict[Any, int] = {}
    for i, (entity, span) in enumerate(zip(given, word_spans(text.words, given), strict=True)):
        if span[0] < span[1]:
            place.setdefault(text.entity(span, entity.label, None).key, i)
    relations = [
        Relation(
            place[text.entities[r.head].key], place[text.entities[r.tail].key], r.label, r.score
        )
        for r in text.relations
    ]
    return sorted(relations, key=lambda r: (r.head, r.tail))
