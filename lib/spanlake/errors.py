"""The library's errors, named by what they mean for the person who started the run.

No message ever contains note text: ids, classes, counts, files and line numbers only.
"""

from __future__ import annotations


class SpanlakeError(Exception):
    """Root of every error that Spanlake raises on purpose."""


class ConfigError(SpanlakeError):
    """The configuration is wrong: mend it and start again."""


class DataError(SpanlakeError):
    """An input breaks its contract: mend the data, or the column map, and start again."""


class PlanError(SpanlakeError):
    """A stored plan cannot be taken up, for instance because another run is working on it."""


class OffsetError(DataError):
    """An entity's text is not what its offsets say: ``note_text[start:end] != text``."""


class ModelError(SpanlakeError):
    """A model folder is missing, incomplete or does not fit the label set."""


class TransientError(SpanlakeError):
    """The text could not be read this time (device, time-out): plan it again."""
