"""A serverless backend for brain images and their annotation."""

__version__ = "0.1.0"
