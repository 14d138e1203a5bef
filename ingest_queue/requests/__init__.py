"""Manifests and job configurations, read from JSON."""
