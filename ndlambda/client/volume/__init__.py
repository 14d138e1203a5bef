"""Volumes, sliced like arrays."""
