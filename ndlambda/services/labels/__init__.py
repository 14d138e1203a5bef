"""Annotation voxels: painting, the index from labels to cuboids, shapes of labels."""
