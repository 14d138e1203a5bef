"""Reads requests: path arguments, queries, JSON and bodies."""
