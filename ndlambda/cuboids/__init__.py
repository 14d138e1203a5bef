"""The stored object: blosc frames of cuboids, and the supercuboid that holds them."""
