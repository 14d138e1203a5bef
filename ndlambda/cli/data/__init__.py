"""Commands on voxels and annotation."""
