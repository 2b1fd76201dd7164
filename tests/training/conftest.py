"""Fixtures of the training tests."""

from __future__ import annotations

from tiny_models import tiny_base

__all__ = ["tiny_base"]
