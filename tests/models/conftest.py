"""Fixtures of the extractors' tests."""

from __future__ import annotations

from tiny_models import tiny_base, tiny_bert, tiny_llama

__all__ = ["tiny_base", "tiny_bert", "tiny_llama"]
