"""Decoders of slices: PNG, TIFF, JPEG, JPEG 2000 and WebP."""
