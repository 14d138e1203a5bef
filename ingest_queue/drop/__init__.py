"""Folders of dropped files that become jobs."""
