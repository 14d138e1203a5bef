"""Immutable values: datasets, projects, channels, tokens, principals and RAMON objects."""
