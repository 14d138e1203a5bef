"""Skeletons in the file formats of tracing programs."""
