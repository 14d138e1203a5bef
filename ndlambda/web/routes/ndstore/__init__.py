"""Routes that are compatible with ndstore."""
