"""Skeletons as files that tracing programs exchange."""
