"""Fixtures of the extractors' tests."""

from __future__ import annotations

from hypothesis import settings

from tiny_models import tiny_base, tiny_bert

__all__ = ["tiny_base", "tiny_bert"]

settings.register_profile("no_deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no_deadline")
