"""Slices fetched from other servers (autoIngest)."""
