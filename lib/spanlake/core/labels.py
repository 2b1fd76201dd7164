"""Label sets: which labels exist, on which layer, and which relations are allowed between them.

A label set is a YAML file of the package's `labels` folder, or any file of that shape.
"""

from __future__ import annotations

import functools
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spanlake.config.base import explained, on_one_line, read_yaml
from spanlake.errors import ConfigError

Layer = Literal["main", "modifier"]
LAYERS: tuple[Layer, Layer] = ("main", "modifier")


class LabelSet(BaseModel):
    """Labels with definitions, and the (head label, tail label) pairs that may be related.

    `aliases` and `relation_aliases` normalise labels that stray in a corpus's files.
    `far_reaching` modifiers may be related to any main entity of their sentence ("denies" and a
    long list); other pairs are limited to the extractor's `max_pair_distance`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: str = ""
    main: dict[str, str]
    modifier: dict[str, str] = Field(default_factory=dict)
    relations: dict[str, str] = Field(default_factory=dict)
    pairs: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    far_reaching: tuple[str, ...] = ()
    aliases: dict[str, str] = Field(default_factory=dict)
    relation_aliases: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> LabelSet:
        both = set(self.main) & set(self.modifier)
        if both:
            raise ValueError(f"labels on both layers: {sorted(both)}")
        named = {*self.pairs, *(tail for tails in self.pairs.values() for tail in tails)}
        unknown = named | set(self.aliases.values())
        unknown -= {*self.main, *self.modifier}
        unknown |= set(self.far_reaching) - set(self.modifier)
        unknown |= set(self.relation_aliases.values()) - set(self.relations)
        if unknown:
            raise ValueError(
                f"pairs, far_reaching or aliases name labels that do not exist: {sorted(unknown)}"
            )
        spaced = [label for label in (*self.labels, *self.relations) if label.split() != [label]]
        if spaced:
            raise ValueError(f"labels are single words, as brat writes them: {spaced}")
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        return (*self.main, *self.modifier)

    def layer_of(self, label: str) -> Layer:
        """Return the label's layer; raises ConfigError for a label that the set lacks."""
        if label in self.main:
            return "main"
        if label in self.modifier:
            return "modifier"
        raise ConfigError(f"label {label!r} is not in label set {self.name!r}")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that have labels, in order."""
        return tuple(layer for layer in LAYERS if self.labels_of(layer))

    def labels_of(self, layer: Layer) -> tuple[str, ...]:
        """Return a layer's labels in their order in the file."""
        return tuple(self.main if layer == "main" else self.modifier)

    def allows(self, head: str, tail: str) -> bool:
        """Tell whether a relation may go from a `head` to a `tail` label."""
        return tail in self.pairs.get(head, ())


def labels_digest(labels: LabelSet) -> str:
    """Hash what an extractor depends on: labels, relations and pairs, not their definitions."""
    shape = [list(labels.main), list(labels.modifier), list(labels.relations), labels.pairs]
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def is_path(name: str) -> bool:
    """Tell whether a label set's name is that of a file, not of a bundled one."""
    return name.endswith((".yml", ".yaml"))


@functools.cache
def load_labels(name: str) -> LabelSet:
    """Load a label set by the name of a bundled one, or from a YAML file.

    Raises ConfigError with the bundled names when there is no such set, or the file is wrong.
    """
    folder = resources.files("spanlake") / "labels"
    path = Path(name) if is_path(name) else folder / f"{name}.yml"
    if not path.is_file():
        known = sorted(
            p.name.removesuffix(".yml") for p in folder.iterdir() if p.name.endswith(".yml")
        )
        raise ConfigError(
            f"no label set {name!r}; bundled: {', '.join(known)}, or a path to a .yml"
        )
    try:
        return LabelSet.model_validate(read_yaml(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = "; ".join(explained(LabelSet, error))
        raise ConfigError(f"label set {name!r}: {problems}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"label set {name!r}: not YAML: {on_one_line(error)}") from None
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"label set {name!r}: cannot be read ({type(error).__name__})") from None
