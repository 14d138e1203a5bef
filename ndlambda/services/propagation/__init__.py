"""Builds coarser resolutions by jobs."""
