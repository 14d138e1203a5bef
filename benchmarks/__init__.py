"""Benchmarks: each prints its figures beside a peer's."""
