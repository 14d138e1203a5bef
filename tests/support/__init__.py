"""Servers and stand-ins that tests and benchmarks share."""
