"""Stores datasets, projects, channels and tokens, and deletes them in cascades."""
