"""Configurations: what their keys are, and how they are read."""
