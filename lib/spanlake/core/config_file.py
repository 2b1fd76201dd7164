"""A configuration's YAML file and the overrides of a command line, and what is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from spanlake.core.errors import ConfigError

MOST_TOLD = 4  # of what is wrong in a file


def read_values(path: str | Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a YAML file and the overrides say, unchecked; no path is an empty file."""
    values = _read(Path(path)) if path is not None else {}
    for override in overrides:
        _apply(values, override)
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {_on_one_line(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def _on_one_line(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}: {problem}" if mark else " ".join(str(error).split())


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, got {override!r}")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {parent} is not a section")
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}: the value is not YAML; quote it") from None


def explained(kind: type[BaseModel], error: ValidationError) -> list[str]:
    """Return a phrase for each of the first problems: the key, what was found, the nearest key."""
    problems = error.errors()
    sections = [p for p in problems if p["type"] == "extra_forbidden" and len(p["loc"]) == 1]
    hint = ["is this the configuration of another job?"] if len(sections) > 1 else []
    told = [_explain_one(kind, problem) for problem in problems]
    more = len(told) - MOST_TOLD
    return [*hint, *told[:MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]


def _explain_one(kind: type[BaseModel], problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "model_type":
        keys = ", ".join(_keys_at(kind, problem["loc"]))
        return f"{place} is a section, found {problem['input']!r}; its keys: {keys}"
    if problem["type"] != "extra_forbidden":
        return f"{place or 'the file'}: {problem['msg'].removeprefix('Value error, ')}"
    known = _keys_at(kind, problem["loc"][:-1])
    near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
    near = near or _in_sections(kind, place)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {place!r}; {hint}"


def _in_sections(kind: type[BaseModel], key: str) -> list[str]:
    """Return the full names of a key that stands in sections, where it was given without one."""
    found = []
    for section in kind.model_fields:
        try:
            keys = _keys_at(kind, (section,))
        except StopIteration:  # no section
            continue
        found += [f"{section}.{key}"] * (key in keys)
    return found


def _keys_at(kind: type[BaseModel], place: Sequence[Any]) -> list[str]:
    """Return the keys of the section at `place`, by walking down the pydantic models."""
    for part in place:
        if isinstance(part, int):  # the number of a list's item, whose keys are the list's
            continue
        annotation: Any = kind.model_fields[str(part)].annotation
        options = (annotation, *getattr(annotation, "__args__", ()))
        kind = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return [field.alias or name for name, field in kind.model_fields.items()]
