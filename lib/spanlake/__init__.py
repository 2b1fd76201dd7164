"""Spanlake: clinical notes to tables of entities and relations, on Spark and Delta Lake."""

__version__ = "0.1.0"
