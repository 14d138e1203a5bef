"""Benchmarks that compare ndlambda with other libraries."""
