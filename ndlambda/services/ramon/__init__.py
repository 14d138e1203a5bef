"""RAMON objects: their rows, queries and merges."""
