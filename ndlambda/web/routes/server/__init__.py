"""Routes for the server itself and its users."""
