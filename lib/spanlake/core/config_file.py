"""A configuration's YAML file and the overrides of a command line, read but not yet checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from spanlake.core.errors import ConfigError


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
