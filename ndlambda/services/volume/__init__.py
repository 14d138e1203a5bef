"""Boxes of voxels read from and written to supercuboids."""
