"""Authenticates users by keys, and authorizes access."""
