"""Lexicons: the terms, patterns and linking rules that the dictionary extractor works with.

A lexicon is a YAML file of the package's `lexicon` folder, or any file of that shape.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spanlake.core.bio import WORD
from spanlake.errors import ConfigError

Pattern = tuple[str, re.Pattern[str]]  # label, regular expression

FOLDER = resources.files("spanlake") / "lexicon"
PLACE = re.compile(r"<(\w+)>")


class Lexicon(BaseModel):
    """What a lexicon file holds; the bundled `kiwi.yml` says what each part does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str = ""
    sets: dict[str, list[str]] = Field(default_factory=dict)
    terms: dict[str, list[str]]
    plurals: list[str] = Field(default_factory=list)
    parts: dict[str, str] = Field(default_factory=dict)
    patterns: dict[str, list[str]] = Field(default_factory=dict)
    cues: list[str] = Field(default_factory=list)
    after: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    nested: list[str] = Field(default_factory=list)
    free: list[str] = Field(default_factory=list)
    look_back: list[str] = Field(default_factory=list)
    spread: list[str] = Field(default_factory=list)
    breaks: list[str] = Field(default_factory=list)
    soft_breaks: list[str] = Field(default_factory=list)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that the lexicon names, in the order that settles ties."""
        inner = (label for patterns in self.after.values() for label in patterns)
        rules = (*self.plurals, *self.nested, *self.free, *self.look_back, *self.spread)
        return tuple(dict.fromkeys([*self.patterns, *self.terms, *self.after, *inner, *rules]))


@dataclass(slots=True)
class Node:
    """A place in the trie of terms: the words that may come next, the labels that end here."""

    following: dict[str, Node] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


def load_lexicon(lexicon: str | Path) -> Lexicon:
    """Load a lexicon by the name of a bundled one, or from a YAML file.

    Raises ConfigError with the bundled names when there is no such lexicon, or the file is wrong.
    """
    is_file = str(lexicon).endswith((".yml", ".yaml"))
    path = Path(lexicon) if is_file else FOLDER / f"{lexicon}.yml"
    if not path.is_file():
        known = ", ".join(bundled_lexicons())
        raise ConfigError(f"no lexicon {lexicon}; bundled: {known}, or a path to a .yml")
    try:
        return Lexicon.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"lexicon {lexicon}: {error}") from error


def bundled_lexicons() -> list[str]:
    """Return the names of the lexicons that come with the package."""
    return sorted(path.name.removesuffix(".yml") for path in FOLDER.iterdir())


def terms_of(lexicon: Lexicon) -> Iterator[tuple[str, str]]:
    """Yield (label, term) for every term, sets filled in, plurals and undotted ends added."""
    for label, templates in lexicon.terms.items():
        for term in itertools.chain.from_iterable(_filled(t, lexicon.sets) for t in templates):
            yield label, term
            if term.endswith("."):
                yield label, term[:-1]
            if label in lexicon.plurals and term[-1].isalpha():
                yield from ((label, term + end) for end in ("s", "es"))


def trie_of(lexicon: Lexicon) -> Node:
    """Return the trie of the lexicon's terms, keyed by casefolded words."""
    root = Node()
    for label, term in terms_of(lexicon):
        node = root
        for word in WORD.findall(term):
            node = node.following.setdefault(word.casefold(), Node())
        if label not in node.labels:
            node.labels = (*node.labels, label)
    return root


def compiled(lexicon: Lexicon, patterns: dict[str, list[str]]) -> list[Pattern]:
    """Return (label, regular expression) for each pattern, with the lexicon's parts filled in.

    Raises ConfigError when an expression is not one.
    """
    try:
        return [
            (label, re.compile(_spelled_out(pattern, lexicon.parts), re.IGNORECASE))
            for label, expressions in patterns.items()
            for pattern in expressions
        ]
    except re.error as error:
        raise ConfigError(
            f"lexicon {lexicon.name}: {error} in pattern {error.pattern!r}"
        ) from error


def any_of(patterns: Iterable[Pattern]) -> re.Pattern[str]:
    """Return the expression that matches wherever one of the patterns does."""
    parts = [pattern.pattern.replace("(?P<value>", "(?:") for _, pattern in patterns]
    return re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE)


def _filled(template: str, sets: dict[str, list[str]]) -> Iterator[str]:
    """Yield the template with every combination of its sets' members."""
    names = PLACE.findall(template)
    unknown = [name for name in names if name not in sets]
    if unknown:
        raise ConfigError(f"term {template!r} names sets that the lexicon lacks: {unknown}")
    for members in itertools.product(*(sets[name] for name in names)):
        values = iter(members)
        yield " ".join(PLACE.sub(lambda _: next(values), template).split())  # noqa: B023


def _spelled_out(pattern: str, parts: dict[str, str]) -> str:
    """Put the named parts into a pattern; a part may use those that stand before it."""
    for name, part in reversed(parts.items()):
        pattern = pattern.replace(f"<{name}>", part)
    return pattern
