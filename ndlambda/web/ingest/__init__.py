"""What routes of ingest share."""
