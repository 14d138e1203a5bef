"""The port contracts of ``ndlambda.testing``, run on every adapter of the project."""
