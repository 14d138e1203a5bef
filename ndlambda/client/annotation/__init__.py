"""Annotation channels: objects, skeletons, graphs."""
