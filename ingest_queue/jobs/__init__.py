"""Ingest jobs: specification, chunks and rows."""
