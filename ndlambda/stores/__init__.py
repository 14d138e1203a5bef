"""Where bytes, rows and messages are kept: three ports, and an adapter folder for each home."""
