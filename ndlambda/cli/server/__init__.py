"""Commands that run and check a server."""
