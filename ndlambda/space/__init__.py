"""Pure integers: Morton codes, boxes, grids and pyramids. Nothing here knows of voxels."""
