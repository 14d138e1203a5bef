"""Reads and writes boxes of voxels in supercuboids."""
