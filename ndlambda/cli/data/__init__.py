"""Commands for voxels and annotation."""
