"""Requests read: parameters, queries, JSON, bodies."""
