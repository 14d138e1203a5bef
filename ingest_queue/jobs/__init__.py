"""What an ingest job is: its specification, its chunks, its rows."""
