"""Sends responses within the limits of the host."""
