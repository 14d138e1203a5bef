"""Chunks built from parts, verified and swept."""
