"""The commands for ingest jobs."""
