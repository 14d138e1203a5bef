"""Decoders of slices: PNG, TIFF, JPEG 2000, WebP and what Pillow reads."""
