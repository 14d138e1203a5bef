"""Turns folders of dropped files into jobs."""
