"""Commands that run and examine a server."""
