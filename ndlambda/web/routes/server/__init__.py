"""Routes about the server and its users."""
