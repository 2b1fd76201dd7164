"""A configuration's YAML file and the overrides of a command line, and what is wrong with them."""

from __future__ import annotations

import codecs
import difflib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from spanlake.errors import ConfigError

MOST_TOLD = 4  # of what is wrong in a file
HASH = "\ufdd0"  # stands for #: a code point that is no character, and that YAML allows


class Model(BaseModel):
    """Base of every section: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Loader(yaml.SafeLoader):
    """YAML whose mappings have each key once; a second one would silently win over the first."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"key {key.value!r} stands here a second time"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return node


def read_yaml(text: str) -> Any:
    """Return what a YAML text holds; raises YAMLError, also for a key that is there twice."""
    return yaml.load(text, Loader)  # noqa: S506  # a SafeLoader


C = TypeVar("C", bound=Model)


def load_config(kind: type[C], path: str | Path | None, overrides: Sequence[str] = ()) -> C:
    """Read a YAML file, apply ``key.sub=value`` overrides (values are YAML) and check the whole.

    With no path the defaults are used. Raises ConfigError that names the file, the key and,
    for an unknown key, the nearest known one.
    """
    values = read_values(path, overrides)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        where = path or "configuration"
        raise ConfigError(f"{where}: " + "; ".join(explained(kind, error))) from None


def read_values(path: str | Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a YAML file and the overrides say, unchecked; no path is an empty file."""
    values = _read(Path(path)) if path is not None else {}
    for override in overrides:
        _apply(values, override)
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{_nearest_file(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder: give a YAML file of it") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}: save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {on_one_line(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values


def _nearest_file(path: Path) -> str:
    """Return a question after the YAML file whose name is nearest, of its folder or of conf/."""
    there = [near for folder in (path.parent, Path("conf")) for near in folder.glob("*.y*ml")]
    by_name = {near.name: near for near in reversed(there)}
    found = difflib.get_close_matches(path.name, by_name, n=1)
    found = found or difflib.get_close_matches(f"{path.name}.yml", by_name, n=1)
    return f"; did you mean {by_name[found[0]]}?" if found else ""


def on_one_line(error: yaml.YAMLError) -> str:
    """Return where a text is no YAML, and why."""
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
        values[last] = _value(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}: the value is not YAML; quote it") from None


def _value(text: str) -> Any:
    """Return what a YAML text on a command line holds: there are no comments, so # is itself.

    So is a mark alone, such as a delimiter, since the shell has taken its quotes; ~ is null.
    """
    if len(text) == 1 and not text.isalnum() and text != "~":
        return text
    return _with_hashes(read_yaml(text.replace("#", HASH)))


def _with_hashes(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(HASH, "#")
    if isinstance(value, list):
        return [_with_hashes(item) for item in value]
    if isinstance(value, dict):
        return {_with_hashes(key): _with_hashes(item) for key, item in value.items()}
    return value


def refuse_old_keys(values: Any, renamed: Mapping[str, str], removed: Sequence[str] = ()) -> Any:
    """Return the values of a section; raises ValueError for keys of earlier versions."""
    keys = values if isinstance(values, dict) else {}
    problems = [f"{key!r} is now {renamed[key]!r}" for key in keys if key in renamed]
    problems += [f"{key!r} was removed" for key in keys if key in removed]
    if problems:
        raise ValueError("; ".join(problems))
    return values


def known_keys(kind: type[BaseModel], section: str = "") -> list[str]:
    """Return the full names of all keys of a configuration, those of its sections included."""
    found = []
    for name, field in kind.model_fields.items():
        sections = _models_of(field.annotation)
        key = f"{section}{field.alias or name}"
        found += [key] if not sections or section else []
        if not section:  # a section inside a section is documented, not listed
            found += dict.fromkeys(k for model in sections for k in known_keys(model, f"{key}."))
    return found


def told_keys(*kinds: type[BaseModel], section: str = "") -> str:
    """Return the keys of configurations, for a help text, and where they are documented."""
    keys = dict.fromkeys(key for kind in kinds for key in known_keys(kind, section))
    lines = textwrap.wrap(", ".join(keys), 78, break_on_hyphens=False)
    return "keys of --config and --set (each with its meaning: docs/configuration.md):\n" + "".join(
        f"  {line}\n" for line in lines
    )


def explained(kind: type[BaseModel], error: ValidationError) -> list[str]:
    """Return a phrase for each of the first problems: the key, what was found, the nearest key."""
    problems = error.errors()
    sections = [p for p in problems if p["type"] == "extra_forbidden" and len(p["loc"]) == 1]
    hint = ["is this the configuration of another job?"] if len(sections) > 1 else []
    phrases = [_explain_one(kind, problem) for problem in problems]
    more = len(phrases) - MOST_TOLD
    return [*hint, *phrases[:MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]


def _explain_one(kind: type[BaseModel], problem: Any) -> str:
    sections, place = _walk(kind, problem["loc"])
    name = ".".join(map(str, place))
    if problem["type"].startswith("union_tag"):
        return f"{name}.kind is {problem['ctx'].get('tag')!r}; known: {_kinds(sections)}"
    if problem["type"] == "model_type" and place:
        return f"{name} is a section, found {problem['input']!r}; its keys: {_listed(sections)}"
    if problem["type"] != "extra_forbidden":
        return f"{name or 'the file'}: {problem['msg'].removeprefix('Value error, ')}"
    *parents, key = problem["loc"]
    of_kind = ""
    if parents:
        [*_, parent] = place[:-1] or [""]
        others = [m for m in _siblings(kind, parents) if key in _keys(m)]
        if others:
            return f"{name} is a key of kind: {_kinds(others)}, not of kind: {parents[-1]}"
        of_kind = f" of kind: {parents[-1]}" if parent != parents[-1] else ""
    sections, _ = _walk(kind, parents)
    known = [known_key for model in sections for known_key in _keys(model)]
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    near = near or _in_sections(kind, str(key))
    hint = f"did you mean {near[0]!r}?" if near else f"known keys{of_kind}: {', '.join(known)}"
    return f"unknown key {name!r}; {hint}"


def _walk(kind: type[BaseModel], loc: Sequence[Any]) -> tuple[list[type[BaseModel]], list[str]]:
    """Return the models of the section at a place of pydantic's, and the place as it is written.

    Pydantic's place names the kind of a section that is one of several kinds.
    """
    models, place = [kind], list[str]()
    for part in loc:
        chosen = [model for model in models if part in _kind_values(model)]
        if isinstance(part, int) or (chosen and part not in _keys(models[0])):
            models = chosen or models
            continue
        place.append(str(part))
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        models = [model for field in fields for model in _models_of(field.annotation)]
    return models, place


def _siblings(kind: type[BaseModel], loc: Sequence[Any]) -> list[type[BaseModel]]:
    """Return the models of the other kinds of a section."""
    of_kind, place = _walk(kind, loc)
    models, _ = _walk(kind, place)
    return [model for model in dict.fromkeys(models) if model not in of_kind]


def _kind_values(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()


def _kinds(models: Iterable[type[BaseModel]]) -> str:
    return ", ".join(dict.fromkeys(value for model in models for value in _kind_values(model)))


def _listed(models: Iterable[type[BaseModel]]) -> str:
    return ", ".join(dict.fromkeys(key for model in models for key in _keys(model)))


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _in_sections(kind: type[BaseModel], key: str) -> list[str]:
    """Return the full names of a key that stands in sections, where it was given without one."""
    return [
        f"{name}.{key}"
        for name, field in kind.model_fields.items()
        if any(key in _keys(model) for model in _models_of(field.annotation))
    ]


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a field may hold: a section, or one of several kinds of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    models = [model for part in get_args(annotation) for model in _models_of(part)]
    return list(dict.fromkeys(models))


def codec_of(encoding: str) -> str:
    """Return the encoding's one name; raises ConfigError for an encoding that does not exist."""
    try:
        "".encode(encoding)  # hex and its kin are codecs of bytes
        return codecs.lookup(encoding).name
    except LookupError:
        raise ConfigError(
            f"no encoding is called {encoding!r}; some that are: utf-8, cp1252 (Windows), latin-1"
        ) from None
