"""Values and pure functions: standard library, pydantic and PyYAML only."""
