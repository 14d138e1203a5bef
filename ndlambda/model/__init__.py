"""Frozen values of the catalogue: datasets, projects, channels, tokens and who asks."""
