"""Coarser resolutions, built by jobs."""
