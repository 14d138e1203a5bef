"""numpy operations on voxel arrays, independent of storage, channels and HTTP."""
