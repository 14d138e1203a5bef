"""Code shared by the ingest routes."""
