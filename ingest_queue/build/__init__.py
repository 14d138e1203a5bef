"""Builds chunks from parts; verifies and reconciles jobs."""
