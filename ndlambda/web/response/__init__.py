"""Responses delivered, within the limits of the host."""
