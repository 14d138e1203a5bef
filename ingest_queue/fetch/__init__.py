"""Fetches slices from other servers (autoIngest)."""
