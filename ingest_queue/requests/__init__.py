"""Reads manifests and job configurations from JSON."""
