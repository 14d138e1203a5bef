"""Stores, queries and merges RAMON objects."""
