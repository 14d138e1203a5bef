"""Stores, reads and merges annotation objects together with their voxels."""
