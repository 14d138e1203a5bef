"""Code shared by the annotation routes."""
