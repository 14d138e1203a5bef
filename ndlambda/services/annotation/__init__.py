"""Annotation as its users see it: objects together with their voxels."""
