"""Paints and reads annotation voxels, and indexes the cuboids of each label."""
