"""Integer geometry: Morton codes, boxes, grids and pyramids, independent of voxel data."""
