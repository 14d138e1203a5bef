"""The format of stored objects: blosc frames of cuboids, and the supercuboid that holds them."""
