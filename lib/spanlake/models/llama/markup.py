"""The answer formats of a language model, as automata over token ids.

An answer repeats the ids of the source, with ids of tags between them. No text is tokenized again
or searched for: the state is a position in the source, so offsets are exact by construction. The
same automaton parses an output, tells which ids are legal next (constrained decoding), writes
drafts (`verification`) and training targets, and classifies illegal outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol

Fault = Literal["altered", "truncated", "repeated", "nested", "unknown_tag", "endless"]
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A sentence as token ids, tokenized word by word, each word with the white space before it.

    Token `i` belongs to word `word[i]`; word `w` begins at token `first[w]`. Tags stand between
    words only.
    """

    ids: Ids
    word: Ids
    first: Ids

    @classmethod
    def of(cls, ids_by_word: Sequence[Sequence[int]]) -> Source:
        """Join the ids of the words, in order."""
        ids: list[int] = []
        word: list[int] = []
        first: list[int] = []
        for position, word_ids in enumerate(ids_by_word):
            first.append(len(ids))
            ids += word_ids
            word += [position] * len(word_ids)
        return cls(tuple(ids), tuple(word), tuple(first))

    def is_boundary(self, token: int) -> bool:
        """Tell whether a word begins at this token, or the source ends there."""
        return token in (0, len(self.ids)) or self.word[token - 1] != self.word[token]

    def token_of(self, word: int) -> int:
        """Return the position of a word's first token; for the number of words, the end."""
        return self.first[word] if word < len(self.first) else len(self.ids)


class WordSpan(NamedTuple):
    """An entity as a half-open range of words."""

    first: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class State:
    """One reading of the ids so far: the position in the source, the open entity, what must follow.

    `position` counts tokens (`SpanMarkup`) or words (`BioLines`); the open entity has `label` and
    began at `start`; `forced` are the ids that must come next.
    """

    position: int = 0
    label: str | None = None
    start: int = 0
    forced: Ids = ()
    spans: tuple[WordSpan, ...] = ()
    done: bool = False


Move = tuple[int, State]


class Format(Protocol):
    """A format of answers: which ids may follow a state, and which of them a draft takes."""

    def begin(self) -> State: ...

    def moves(self, state: State) -> list[Move]:
        """Return the legal next ids, each with the state that it leads to; ids may repeat."""
        ...

    def write(self, state: State, entities: Sequence[WordSpan]) -> Move:
        """Return the move that marks these entities and no others."""
        ...

    def fault(self, state: State, token: int) -> Fault:
        """Classify an illegal next id."""
        ...


@dataclass(slots=True)
class Answer:
    """An output of a model in a format, id by id.

    A source that contains the ids of tags (a note with ``<problem>`` in it) has several readings
    for a while: all are kept in `states`, and the first that ends is the answer.
    """

    format: Format
    ids: list[int] = field(default_factory=list)
    states: tuple[State, ...] = ()
    fault: Fault | None = None

    def __post_init__(self) -> None:
        self.states = self.states or (self.format.begin(),)

    @property
    def done(self) -> bool:
        return any(state.done for state in self.states)

    @property
    def spans(self) -> tuple[WordSpan, ...]:
        """The entities that have been closed so far."""
        return next((state for state in self.states if state.done), self.states[0]).spans

    @property
    def open_label(self) -> str | None:
        """The label of the entity that is open."""
        return self.states[0].label

    def legal(self) -> list[int]:
        """Return the ids that may come next, in ascending order; none after the end."""
        return sorted({token for state in self.states for token, _ in self._moves(state)})

    def step(self, token: int) -> bool:
        """Append the next id of an output; returns False, and sets `fault`, if it is illegal."""
        if self.fault:
            return False
        after = [
            new for state in self.states for legal, new in self._moves(state) if legal == token
        ]
        if not after:
            self.fault = self.format.fault(self.states[0], token)
            return False
        self.ids.append(token)
        self.states = tuple(dict.fromkeys(after))
        return True

    def draft(self, entities: Iterable[WordSpan] = ()) -> list[int]:
        """Return the ids from here to the end that mark these entities (without overlaps).

        Entities that begin before the position that has been reached are left out. An open entity
        is closed where the entity that holds its first word ends, otherwise after one word.
        """
        state, wanted, ids = self.states[0], sorted(entities), list[int]()
        while not state.done:
            token, state = self.format.write(state, wanted)
            ids.append(token)
        return ids

    def legal_along(self, draft: Sequence[int]) -> list[list[int]]:
        """Return the legal ids before each id of a legal draft, and after its last."""
        ahead = replace(self, ids=[])
        legal = [ahead.legal()]
        for token in draft:
            ahead.step(token)
            legal.append(ahead.legal())
        return legal

    def _moves(self, state: State) -> list[Move]:
        if state.done:
            return []
        if state.forced:
            return [(state.forced[0], replace(state, forced=state.forced[1:]))]
        return self.format.moves(state)


@dataclass(frozen=True, slots=True)
class SpanMarkup:
    """The source with flat tags around entities: ``No <problem>chest pain</problem>.``

    `opening` and `closing` are the ids of every label's tags, `end` those that end an answer.
    """

    source: Source
    opening: dict[str, Ids]
    closing: dict[str, Ids]
    end: Ids

    def begin(self) -> State:
        return State()

    def moves(self, state: State) -> list[Move]:
        source, at = self.source, state.position
        moves = []
        if at < len(source.ids):
            moves.append(self._copy(state))
        if state.label is not None:
            if at > state.start and source.is_boundary(at):
                moves.append(self._close(state))
        elif at == len(source.ids):
            moves += [(token, replace(state, done=True)) for token in self.end]
        elif source.is_boundary(at):
            moves += [self._open(state, label) for label in self.opening]
        return moves

    def write(self, state: State, entities: Sequence[WordSpan]) -> Move:
        if state.forced:
            return state.forced[0], replace(state, forced=state.forced[1:])
        source, at = self.source, state.position
        if state.label is not None:
            word = source.word[state.start]
            holder = next((e for e in entities if e.first <= word < e.end), None)
            last = source.token_of(holder.end if holder else word + 1)
            closes = at > state.start and at >= last and source.is_boundary(at)
            return self._close(state) if closes else self._copy(state)
        if at == len(source.ids):
            return self.end[0], replace(state, done=True)
        if source.is_boundary(at) and not (state.spans and state.spans[-1].end > source.word[at]):
            for entity in entities:
                if entity.first == source.word[at] and entity.label in self.opening:
                    return self._open(state, entity.label)
        return self._copy(state)

    def fault(self, state: State, token: int) -> Fault:
        if token in self.end:
            return "truncated"
        opened = {ids[:2] for ids in self.opening.values()}
        if state.forced:  # a tag: `<` of a closing one, and then a label
            closing = any(ids[1:] == state.forced for ids in self.closing.values())
            return "nested" if closing and token in {ids[1] for ids in opened} else "unknown_tag"
        if state.label is not None and token in {ids[0] for ids in opened}:
            return "nested"
        return "repeated" if state.position == len(self.source.ids) else "altered"

    def _copy(self, state: State) -> Move:
        return self.source.ids[state.position], replace(state, position=state.position + 1)

    def _open(self, state: State, label: str) -> Move:
        token, *rest = self.opening[label]
        return token, replace(state, label=label, start=state.position, forced=tuple(rest))

    def _close(self, state: State) -> Move:
        assert state.label is not None
        token, *rest = self.closing[state.label]
        words = self.source.word
        span = WordSpan(words[state.start], words[state.position - 1] + 1, state.label)
        return token, replace(state, label=None, forced=tuple(rest), spans=(*state.spans, span))


@dataclass(frozen=True, slots=True)
class BioLines:
    """A line per word: the word, a tab and its BIO tag. Only the tag is free.

    `words` are the ids of the words without white space, `tags` those of `O`, `B-LABEL` and
    `I-LABEL`; after the last line `end`.
    """

    words: tuple[Ids, ...]
    tags: dict[str, Ids]
    tab: Ids
    newline: Ids
    end: Ids

    def begin(self) -> State:
        return self._line(State())

    def moves(self, state: State) -> list[Move]:
        if state.position == len(self.words):
            return [(token, replace(state, done=True)) for token in self.end]
        names = [name for name in self.tags if name[:2] != "I-" or name[2:] == state.label]
        return [self._tag(state, name) for name in names]

    def write(self, state: State, entities: Sequence[WordSpan]) -> Move:
        if state.forced:
            return state.forced[0], replace(state, forced=state.forced[1:])
        at = state.position
        if at == len(self.words):
            return self.end[0], replace(state, done=True)
        holder = next((e for e in entities if e.first <= at < e.end), None)
        if holder is None or f"B-{holder.label}" not in self.tags:
            return self._tag(state, "O")
        inside = at > holder.first and state.label == holder.label
        return self._tag(state, f"I-{holder.label}" if inside else f"B-{holder.label}")

    def fault(self, state: State, token: int) -> Fault:
        if token in self.end:
            return "truncated"
        if state.position == len(self.words):
            return "repeated"
        return "altered" if state.forced else "unknown_tag"

    def _tag(self, state: State, name: str) -> Move:
        """Take a tag for the word at the position; an entity that it ends becomes a span."""
        token, *rest = self.tags[name]
        spans, label, start = state.spans, state.label, state.start
        if label is not None and not name.startswith("I-"):
            spans, label = (*spans, WordSpan(start, state.position, label)), None
        if name.startswith("B-"):
            label, start = name[2:], state.position
        after = self._line(State(state.position + 1, label, start, spans=spans))
        return token, replace(after, forced=(*rest, *self.newline, *after.forced))

    def _line(self, state: State) -> State:
        """Return the state with the next word and tab forced; at the end the open entity closes."""
        if state.position < len(self.words):
            return replace(state, forced=(*self.words[state.position], *self.tab))
        if state.label is None:
            return state
        span = WordSpan(state.start, state.position, state.label)
        return replace(state, label=None, spans=(*state.spans, span))
