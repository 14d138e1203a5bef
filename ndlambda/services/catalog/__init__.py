"""Datasets, projects, channels and tokens: rows, lists, creation, cascades of deletions."""
